#!/usr/bin/env node
// A Class Runtime Manager that runs nothing: crm.js REDIS_URL ENVIRONMENT [ID]. See docs/protocol.md.
const { createClient } = require("redis"); // npm install redis, or Debian: node-redis
const [URL, ENV, ME = require("os").hostname()] = process.argv.slice(2);
const N = process.env.OAAS_PM_DB_NAME || "oaas_pm", T = process.env.OAAS_PM_MQ_TOPIC_PREFIX || "oaas.pm";
const UNITS = `${N}:{env:${ENV}}:units`, STATUS = `${N}:{env:${ENV}}:status`;
const [COMMANDS, REPORTS, DEAD] = ["commands", "reports", "dead"].map((s) => `${T}.{env:${ENV}}.${s}`);
const client = createClient({ url: URL }), reader = createClient({ url: URL }); // a read that waits has its connection to itself
const running = new Map(); // unit id -> generation and specHash, which together say what runs; a real CRM asks its platform
const r = (...args) => client.sendCommand(args.map(String));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const report = (fields) => r("XADD", REPORTS, "*", ...Object.entries({ crm: ME, ts: new Date().toISOString(), ...fields }).flat());
const identity = (rec) => `${rec.generation} ${rec.specHash}`;
const pairs = (list) => Object.fromEntries(Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i], list[2 * i + 1]]));

// whether a report is there and no group was given it yet: to say it again would only fill Redis
async function unread(entry) {
  if (!(await r("XRANGE", REPORTS, entry, entry)).length) return false;
  const last = (await r("XINFO", "GROUPS", REPORTS)).map((g) => pairs(g)["last-delivered-id"]);
  return (await Promise.all(last.map((id) => r("XRANGE", REPORTS, "(" + id, entry, "COUNT", 1)))).every((found) => found.length);
}

// heartbeats, and a touch of what is in hand, so that no colleague takes it
async function alive() {
  for (let sent = ["0", "0", "0", "0"]; ; await sleep(5000)) {
    try {
      if (!(await unread(sent[0]))) sent = [...sent.slice(1), await report({ type: "heartbeat", availability: "0.99" })];
      for (const [id] of await r("XPENDING", COMMANDS, "crm", "-", "+", 100, ME)) await r("XCLAIM", COMMANDS, "crm", ME, 0, id, "JUSTID");
    } catch {} // the main loop says it
  }
}

// makes one unit be as its record says, and reports; to do it again changes nothing
async function make(uid, rec) {
  const about = { type: "status", id: uid, generation: rec.generation, specHash: rec.specHash };
  if (rec.op === "undeploy") {
    running.delete(uid); // stop it here
    return report({ ...about, condition: "DELETED" });
  }
  const functions = rec.unit.functions;
  if (running.get(uid) !== identity(rec)) { // after a restore, another spec may have the same generation
    await report({ ...about, condition: "DEPLOYING" });
    // start those without a staticUrl here, each with its image and config, and wait until they answer
    for (const f of functions) await sleep(1000 * (f.config.env?.CONFORMANCE_START_DELAY || 0));
    running.set(uid, identity(rec));
  }
  const urls = functions.map((f) => [f.key, { condition: "RUNNING", invocationUrl: f.staticUrl || `js://${ME}/${f.key}` }]);
  return report({ ...about, condition: "RUNNING", functions: JSON.stringify(Object.fromEntries(urls)), replicas: JSON.stringify([ME]) });
}

// makes all be as the records say; with full set, what is so already is said again
async function resync(full) {
  for (const [uid, text] of Object.entries(pairs(await r("HGETALL", UNITS)))) {
    const rec = JSON.parse(text), said = async () => JSON.parse((await r("HGET", STATUS, uid)) || "{}").condition;
    const todo = rec.op === "deploy" ? full || running.get(uid) !== identity(rec) : running.has(uid) || (full && (await said()) !== "DELETED");
    if (todo) await make(uid, rec);
  }
}

// carries out one command; the unit's record is the truth: older commands are dropped, others refused
async function handle(entry, fields) {
  const rec = JSON.parse((await r("HGET", UNITS, fields.id || "")) || "{}"), generation = Number(fields.generation);
  const forged = !(generation < rec.generation) && !(generation === rec.generation && fields.specHash === rec.specHash);
  if (forged || !["deploy", "undeploy"].includes(fields.type))
    await r("XADD", DEAD, "MAXLEN", "~", 10000, "*", "stream", "commands", "id", entry, "reason", "this was never dispatched", "by", ME,
      "ts", new Date().toISOString(), "fields", JSON.stringify(fields));
  else if (generation === rec.generation) await make(fields.id, rec);
  await r("XACK", COMMANDS, "crm", entry); // last
}

async function session() {
  await r("XGROUP", "CREATE", COMMANDS, "crm", 0, "MKSTREAM").catch((e) => { if (!/BUSYGROUP/.test(e.message)) throw e; });
  await resync(true); // first the records, then the commands
  for (let read = Date.now(); ; ) {
    if (Date.now() - read > 30000) { // a restored Redis may have other records, and says nothing
      await resync(false);
      read = Date.now();
    }
    await r("XAUTOCLAIM", COMMANDS, "crm", ME, 30000, "0", "JUSTID"); // what a dead colleague left becomes mine
    for (const start of ["0", ">"]) { // mine from before, then new ones
      const streams = await reader.sendCommand(["XREADGROUP", "GROUP", "crm", ME, "COUNT", "100", "BLOCK", "1000", "STREAMS", COMMANDS, start]);
      for (const [entry, fields] of (streams || []).flatMap(([, entries]) => entries)) await handle(entry, pairs(fields || []));
    }
  }
}

async function main() {
  for (const c of [client, reader]) await c.on("error", (e) => console.error(`redis: ${e.message}`)).connect(); // and again, by itself
  alive();
  for (;;) {
    await session().catch((e) => console.error(`redis: ${e.message}`)); // also NOGROUP: Redis lost its data, and what runs is kept
    await sleep(1000);
  }
}
main();
