#!/usr/bin/python3
"""A Class Runtime Manager that runs nothing: crm.py REDIS_URL ENVIRONMENT [ID]. See docs/protocol.md."""
import datetime, json, os, socket, sys, threading, time
import redis  # Debian: python3-redis

URL, ENV, ME = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else socket.gethostname()
N, T = os.environ.get("OAAS_PM_DB_NAME", "oaas_pm"), os.environ.get("OAAS_PM_MQ_TOPIC_PREFIX", "oaas.pm")
UNITS, STATUS = f"{N}:{{env:{ENV}}}:units", f"{N}:{{env:{ENV}}}:status"
COMMANDS, REPORTS, DEAD = (f"{T}.{{env:{ENV}}}.{s}" for s in ("commands", "reports", "dead"))
r = redis.Redis.from_url(URL, decode_responses=True)
running = {}  # unit id -> (generation, specHash), which together say what runs; a real CRM asks its platform what it runs

def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()

def report(**fields):
    return r.xadd(REPORTS, {"crm": ME, "ts": now(), **fields})

def unread(entry):
    # whether a report is there and no group was given it yet: to say it again would only fill Redis
    return r.xrange(REPORTS, entry, entry) and all(r.xrange(REPORTS, "(" + g["last-delivered-id"], entry, 1) for g in r.xinfo_groups(REPORTS))

def alive():
    # heartbeats, and a touch of what is in hand, so that no colleague takes it; also while a unit takes long to start
    sent = ["0"] * 4  # the last four
    while True:
        try:
            if not unread(sent[0]):
                sent = [*sent[1:], report(type="heartbeat", availability="0.99")]
            for p in r.xpending_range(COMMANDS, "crm", "-", "+", 100, ME):
                r.xclaim(COMMANDS, "crm", ME, 0, [p["message_id"]], justid=True)
        except redis.RedisError:
            pass  # the main loop says it
        time.sleep(5)

def make(uid, rec):
    # makes one unit be as its record says, and reports; to do it again changes nothing
    about = {"type": "status", "id": uid, "generation": rec["generation"], "specHash": rec["specHash"]}
    if rec["op"] == "undeploy":
        running.pop(uid, None)  # stop it here
        return report(condition="DELETED", **about)
    functions = rec["unit"]["functions"]
    if running.get(uid) != (rec["generation"], rec["specHash"]):  # after a restore, another spec may have the same generation
        report(condition="DEPLOYING", **about)
        for f in functions:  # start those without a staticUrl here, each with its image and config, and wait until they answer
            time.sleep(int(f["config"].get("env", {}).get("CONFORMANCE_START_DELAY", 0)))
        running[uid] = (rec["generation"], rec["specHash"])
    urls = {f["key"]: {"condition": "RUNNING", "invocationUrl": f.get("staticUrl") or f"py://{ME}/{f['key']}"} for f in functions}
    report(condition="RUNNING", functions=json.dumps(urls), replicas=json.dumps([ME]), **about)

def resync(full):
    # makes all be as the records say; with full set, what is so already is said again
    for uid, text in r.hscan_iter(UNITS):
        rec = json.loads(text)
        if rec["op"] == "deploy":
            todo = full or running.get(uid) != (rec["generation"], rec["specHash"])
        else:
            todo = uid in running or full and json.loads(r.hget(STATUS, uid) or "{}").get("condition") != "DELETED"
        if todo:
            make(uid, rec)

def handle(entry, fields):
    # carries out one command; the unit's record is the truth: older commands are dropped, others refused
    try:
        rec, generation = json.loads(r.hget(UNITS, fields["id"]) or "{}"), int(fields["generation"])
        forged = generation > rec.get("generation", 0) or generation == rec["generation"] and fields["specHash"] != rec["specHash"]
        if forged or fields["type"] not in ("deploy", "undeploy"):
            raise ValueError("this was never dispatched")
        if generation == rec["generation"]:
            make(fields["id"], rec)
    except (KeyError, ValueError) as e:
        r.xadd(DEAD, {"stream": "commands", "id": entry, "reason": repr(e), "by": ME, "ts": now(), "fields": json.dumps(fields)}, maxlen=10000)
    r.xack(COMMANDS, "crm", entry)  # last

threading.Thread(target=alive, daemon=True).start()
while True:
    try:
        try:
            r.xgroup_create(COMMANDS, "crm", id="0", mkstream=True)
        except redis.ResponseError as e:
            if "BUSYGROUP" not in str(e):
                raise
        resync(full=True)  # first the records, then the commands
        read = time.monotonic()
        while True:
            if time.monotonic() - read > 30:  # a restored Redis may have other records, and says nothing
                resync(full=False)
                read = time.monotonic()
            r.xautoclaim(COMMANDS, "crm", ME, 30000, count=100)  # what a dead colleague left becomes mine
            for start, block in (("0", None), (">", 1000)):  # mine from before, then new ones
                for _, entries in r.xreadgroup("crm", ME, {COMMANDS: start}, count=100, block=block):
                    for entry, fields in entries:
                        handle(entry, fields or {})
    except redis.RedisError as e:  # also NOGROUP: Redis lost its data, and what runs is kept; begin again
        print(f"redis: {e}", file=sys.stderr)
        time.sleep(1)
