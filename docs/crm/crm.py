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

def heartbeats():
    sent = ["0"] * 4  # the last four
    while True:
        try:
            if not unread(sent[0]):
                sent = [*sent[1:], report(type="heartbeat", availability="0.99")]
        except redis.RedisError:
            pass  # the main loop says it
        time.sleep(5)

def make(uid, rec):
    # makes one unit be as its record says, and reports; to do it again changes nothing
    about = {"type": "status", "id": uid, "generation": rec["generation"], "specHash": rec["specHash"]}
    if rec["op"] == "undeploy":
        running.pop(uid, None)  # stop it here
        return report(condition="DELETED", **about)
    if running.get(uid) != (rec["generation"], rec["specHash"]):  # after a restore, another spec may have the same generation
        report(condition="DEPLOYING", **about)
        running[uid] = (rec["generation"], rec["specHash"])  # start rec["unit"]["functions"] here, each with its image and config
    functions = {f["key"]: {"condition": "RUNNING", "invocationUrl": f"py://{ME}/{f['key']}"} for f in rec["unit"]["functions"]}
    report(condition="RUNNING", functions=json.dumps(functions), replicas=json.dumps([ME]), **about)

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

threading.Thread(target=heartbeats, daemon=True).start()
while True:
    try:
        try:
            r.xgroup_create(COMMANDS, "crm", id="0", mkstream=True)
        except redis.ResponseError as e:
            if "BUSYGROUP" not in str(e):
                raise
        for uid, rec in r.hscan_iter(UNITS):  # first the records, then the commands
            if json.loads(rec)["op"] == "deploy" or json.loads(r.hget(STATUS, uid) or "{}").get("condition") != "DELETED":
                make(uid, json.loads(rec))
        while True:
            r.xautoclaim(COMMANDS, "crm", ME, 30000, count=100)  # what a dead colleague left becomes mine
            for start, block in (("0", None), (">", 1000)):  # mine from before, then new ones
                for _, entries in r.xreadgroup("crm", ME, {COMMANDS: start}, count=100, block=block):
                    for entry, fields in entries:
                        handle(entry, fields or {})
    except redis.RedisError as e:  # also NOGROUP: Redis lost its data; begin again
        print(f"redis: {e}", file=sys.stderr)
        time.sleep(1)
