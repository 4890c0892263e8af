"use strict";
// Shows the OpenAPI document. Everything is written as text, never as markup.
const el = (tag, props = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
};
const json = (value) => JSON.stringify(value, null, 2);
const headers = () => {
  const token = document.getElementById("token").value;
  return token ? { Authorization: "Bearer " + token } : {};
};

// resolve puts the schemas in the place of references, two deep.
const resolve = (doc, schema, depth = 0) => {
  if (!schema || typeof schema !== "object") return schema;
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return depth > 2 ? name : resolve(doc, doc.components.schemas[name], depth + 1);
  }
  if (Array.isArray(schema)) return schema.map((s) => resolve(doc, s, depth));
  return Object.fromEntries(Object.entries(schema).map(([k, v]) => [k, resolve(doc, v, depth)]));
};

const tryIt = (path, op) => {
  const form = el("form");
  const inputs = (op.parameters || []).map((p) => {
    const input = el("input", { name: p.name, required: !!p.required });
    form.append(el("div", {}, el("label", {}, p.name + " ", input)));
    return [p, input];
  });
  const out = el("pre", { hidden: true });
  form.append(el("button", {}, "Send"), out);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let target = path.replace(/^\//, "");
    const query = new URLSearchParams();
    for (const [p, input] of inputs) {
      if (p.in === "path") target = target.replace("{" + p.name + "}", encodeURIComponent(input.value));
      else if (input.value) query.set(p.name, input.value);
    }
    const res = await fetch(target + (query.size ? "?" + query : ""), { headers: headers() });
    const text = await res.text();
    let body = text;
    try { body = json(JSON.parse(text)); } catch { /* it is no JSON */ }
    out.textContent = res.status + " " + res.statusText + "\n\n" + body;
    out.hidden = false;
  });
  return form;
};

const operation = (doc, path, method, op) => {
  const d = el("details", {}, el("summary", {}, el("span", { className: "method" }, method.toUpperCase()), el("code", {}, path), " " + op.summary));
  if (op.description) d.append(el("p", {}, op.description));
  if (op.parameters) {
    d.append(el("table", {}, ...op.parameters.map((p) => el("tr", {}, el("th", {}, p.name), el("td", {}, p.in), el("td", {}, p.schema.type), el("td", {}, p.description || "")))));
  }
  for (const [type, media] of Object.entries((op.requestBody || {}).content || {})) {
    d.append(el("h4", {}, "Body: " + type));
    if (Object.keys(media.schema || {}).length) d.append(el("pre", {}, json(resolve(doc, media.schema))));
  }
  for (const [status, answer] of Object.entries(op.responses)) {
    const [type, media] = Object.entries(answer.content || {})[0] || [];
    const more = el("details", {}, el("summary", {}, status + " " + answer.description + (type ? ", " + type : "")));
    if (media && media.schema) more.append(el("pre", {}, json(resolve(doc, media.schema))));
    d.append(more);
  }
  if (method === "get" && !path.startsWith("/watch")) d.append(el("h4", {}, "Try it"), tryIt(path, op));
  return d;
};

(async () => {
  const main = document.getElementById("routes");
  try {
    const doc = await (await fetch("openapi.json")).json();
    const tags = new Map();
    for (const [path, item] of Object.entries(doc.paths)) {
      for (const [method, op] of Object.entries(item)) {
        const tag = op.tags[0];
        if (!tags.has(tag)) tags.set(tag, []);
        tags.get(tag).push(operation(doc, path, method, op));
      }
    }
    main.replaceChildren(...[...tags].sort().map(([tag, ops]) => el("section", {}, el("h2", {}, tag), ...ops)));
  } catch (e) {
    main.textContent = "The OpenAPI document cannot be read: " + e.message;
  }
})();
