#!/usr/bin/env bash
# A Class Runtime Manager that runs nothing: crm.sh REDIS_URL ENVIRONMENT [ID]. See docs/protocol.md.
set -u
URL=$1 ENV=$2 ME=${3:-$(uname -n)}
N=${OAAS_PM_DB_NAME:-oaas_pm} T=${OAAS_PM_MQ_TOPIC_PREFIX:-oaas.pm}
UNITS="$N:{env:$ENV}:units" STATUS="$N:{env:$ENV}:status"
COMMANDS="$T.{env:$ENV}.commands" REPORTS="$T.{env:$ENV}.reports" DEAD="$T.{env:$ENV}.dead"
declare -A running # unit id -> generation and specHash, which together say what runs; a real CRM asks its platform what it runs

r() { redis-cli -e --raw -u "$URL" "$@" 2>/dev/null; }
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }
report() { r XADD "$REPORTS" '*' crm "$ME" ts "$(now)" "$@"; }

# make ID OP GENERATION SPECHASH: makes one unit so, and reports. To do it again changes nothing.
make() {
  local about=(type status id "$1" generation "$3" specHash "$4")
  if [ "$2" = undeploy ]; then
    unset "running[$1]" # stop it here
    report condition DELETED "${about[@]}"
    return
  fi
  if [ "${running[$1]:-}" != "$3 $4" ]; then
    report condition DEPLOYING "${about[@]}" || return
    running[$1]="$3 $4" # start it here: HGET "$UNITS" ID says what it is made of
  fi
  report condition RUNNING replicas "[\"$ME\"]" "${about[@]}"
}

# record ID: prints op, generation and specHash of a unit's record, which is canonical JSON.
record() {
  r HGET "$UNITS" "$1" | sed -nE 's/^\{"dispatchedAt":"[^"]*","generation":([0-9]+),"op":"([a-z]+)",("revision":"[^"]*",)?"specHash":"([^"]*)".*/\2 \1 \4/p'
}

# field ENTRY NAME: prints one field of a command.
field() {
  r EVAL 'for _, e in ipairs(redis.call("XRANGE", KEYS[1], ARGV[1], ARGV[1])) do
    for i = 1, #e[2], 2 do if e[2][i] == ARGV[2] then return e[2][i + 1] end end end' 1 "$COMMANDS" "$1" "$2"
}

# handle ENTRY: carries out one command. The record is the truth: an older command is dropped, others are refused.
handle() {
  local id generation rec
  id=$(field "$1" id) && generation=$(field "$1" generation) && rec=$(record "$id") || return
  set -- "$1" $rec # op $2, generation $3, specHash $4
  if [[ ! $generation =~ ^[0-9]{1,15}$ || $# != 4 || $(field "$1" type) != @(deploy|undeploy) ]] || [ "$generation" -gt "$3" ] || { [ "$generation" = "$3" ] && [ "$(field "$1" specHash)" != "$4" ]; }; then
    r XADD "$DEAD" MAXLEN '~' 10000 '*' stream commands id "$1" reason 'this was never dispatched' by "$ME" ts "$(now)" >/dev/null || return
  elif [ "$generation" = "$3" ]; then
    make "$id" "$2" "$3" "$4" >/dev/null || return
  fi
  r XACK "$COMMANDS" crm "$1" >/dev/null # last
}

# unread ENTRY: whether a report is there and no group was given it yet: to say it again would only fill Redis.
unread() {
  [ -n "$(r XRANGE "$REPORTS" "$1" "$1")" ] || return
  for last in $(r XINFO GROUPS "$REPORTS" | awk 'name == "last-delivered-id" { print } { name = $0 }'); do
    [ -n "$(r XRANGE "$REPORTS" "($last" "$1" COUNT 1)" ] || return
  done
}

sent=(0 0 0 0) # the last four heartbeats
while kill -0 $$ 2>/dev/null; do
  unread "${sent[0]}" || { id=$(report type heartbeat availability 0.99) && sent=("${sent[@]:1}" "$id"); }
  sleep 5
done &
trap 'kill %1' EXIT
trap exit TERM INT
while :; do
  r XGROUP CREATE "$COMMANDS" crm 0 MKSTREAM >/dev/null # an error if it is there
  for id in $(r HKEYS "$UNITS"); do # first the records, then the commands
    rec=$(record "$id")
    [[ $rec == deploy* || $(r HGET "$STATUS" "$id") != *'"condition":"DELETED"'* ]] && make "$id" $rec >/dev/null
  done
  while r XAUTOCLAIM "$COMMANDS" crm "$ME" 30000 0 JUSTID >/dev/null && # what a dead colleague left becomes mine
    r XREADGROUP GROUP crm "$ME" COUNT 100 BLOCK 1000 STREAMS "$COMMANDS" '>' >/dev/null; do
    for entry in $(r XPENDING "$COMMANDS" crm - + 100 "$ME" | awk 'NR % 4 == 1'); do handle "$entry"; done
  done
  sleep 1 # Redis is away, or lost its data (NOGROUP): begin again
done
