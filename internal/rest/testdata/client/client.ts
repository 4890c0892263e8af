// A client whose types are made from the OpenAPI document: it creates a package, sees
// that happen in the stream of events, reads what it made, changes a deployment, and deletes the package.
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { argv: string[] };
const api = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

function must<T>(answer: { data?: T; error?: { detail?: string; title: string }; response: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response.url}: ${answer.response.status} ${answer.error?.detail}`);
  }
  return answer.data;
}

const watch = await api.GET("/watch", { params: { query: { package: "parcel" } }, parseAs: "stream" });
const seen: string[] = [];
const following = (async () => {
  const text = watch.data as unknown as ReadableStream<Uint8Array>;
  const reader = text.pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("event: ")) seen.push(line.slice(7));
    if (seen.includes("deleted")) return reader.cancel();
  }
})();

const made = must(await api.POST("/packages", {
  body: {
    name: "parcel",
    functions: [{ name: "weigh", provision: { knative: { image: "registry.example/weigh:1", env: { UNIT: "kg" } } } }],
    classes: [{ name: "box", functions: [{ name: "weigh", function: ".weigh" }] }],
    deployments: [{ _key: ".box", targetEnvs: ["east"] }],
  },
}));
if (!("name" in made) || made.name !== "parcel" || made._rev !== 1) throw new Error(JSON.stringify(made));

const fn = must(await api.GET("/functions/{key}", { params: { path: { key: "parcel.weigh" } } }));
if (!("provision" in fn) || fn.provision.knative?.env?.["UNIT"] !== "kg") throw new Error(JSON.stringify(fn));

const units = must(await api.GET("/units", { params: { query: { package: "parcel", limit: 5 } } }));
if (units.total !== 1) throw new Error(JSON.stringify(units));

const deployment = must(await api.GET("/deployments/{key}", { params: { path: { key: "parcel.box" } } }));
if (!("partitionCount" in deployment)) throw new Error(JSON.stringify(deployment));
must(await api.PUT("/deployments/{key}", { params: { path: { key: "parcel.box" } }, body: { ...deployment, partitionCount: 2 } }));

const bad = await api.GET("/units", { params: { query: { limit: 0 } } });
if (bad.error?.status !== 400) throw new Error(JSON.stringify(bad.error));

must(await api.DELETE("/packages/{key}", { params: { path: { key: "parcel" } } }));
const gone = await api.GET("/packages/{key}", { params: { path: { key: "parcel" } } });
if (gone.response.status !== 404) throw new Error(String(gone.response.status));
await following;
console.log(seen.join(" "));
