#!/usr/bin/env bash
# A Class Runtime Manager that runs nothing: crm.sh REDIS_URL ENVIRONMENT [ID]. See docs/protocol.md.
# It needs redis-cli 7 and jq.
set -u
URL=$1 ENV=$2 ME=${3:-$(uname -n)}
N=${OAAS_PM_DB_NAME:-oaas_pm} T=${OAAS_PM_MQ_TOPIC_PREFIX:-oaas.pm}
UNITS="$N:{env:$ENV}:units" STATUS="$N:{env:$ENV}:status"
COMMANDS="$T.{env:$ENV}.commands" REPORTS="$T.{env:$ENV}.reports" DEAD="$T.{env:$ENV}.dead"
declare -A running # unit id -> generation and specHash, which together say what runs; a real CRM asks its platform what it runs

r() { redis-cli -e --raw -u "$URL" "$@" 2>/dev/null; }
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }
report() { r XADD "$REPORTS" '*' crm "$ME" ts "$(now)" "$@"; }
mine() { r XPENDING "$COMMANDS" crm - + 100 "$ME" | awk 'NR % 4 == 1'; } # the commands that are in hand

# make ID OP GENERATION SPECHASH: makes one unit so, and reports. To do it again changes nothing.
make() {
  local about=(type status id "$1" generation "$3" specHash "$4") unit
  if [ "$2" = undeploy ]; then
    unset "running[$1]" # stop it here
    report condition DELETED "${about[@]}"
    return
  fi
  unit=$(r HGET "$UNITS" "$1" | jq -c .unit)
  if [ "${running[$1]:-}" != "$3 $4" ]; then
    report condition DEPLOYING "${about[@]}" || return
    # Start the functions without a staticUrl here, and wait until they answer.
    sleep "$(jq -r '[.functions[].config.env.CONFORMANCE_START_DELAY // 0 | tonumber] | add // 0' <<<"$unit")"
    running[$1]="$3 $4"
  fi
  report condition RUNNING replicas "[\"$ME\"]" "${about[@]}" functions "$(jq -c --arg me "$ME" '.functions | map({key,
    value: {condition: "RUNNING", invocationUrl: (.staticUrl // "sh://\($me)/\(.key)")}}) | from_entries' <<<"$unit")"
}

# record ID: prints op, generation and specHash of a unit's record.
record() { r HGET "$UNITS" "$1" | jq -r '"\(.op) \(.generation) \(.specHash)"' 2>/dev/null; }

# resync FULL: makes all be as the records say. With FULL, what is so already is said again.
resync() {
  local id rec
  for id in $(r HKEYS "$UNITS"); do
    rec=$(record "$id")
    case $rec in
      deploy*) [ "$1" ] || [ "${running[$id]:-}" != "${rec#deploy }" ] ;;
      *) [ "${running[$id]:-}" ] || { [ "$1" ] && [[ $(r HGET "$STATUS" "$id") != *'"condition":"DELETED"'* ]]; } ;;
    esac && make "$id" $rec >/dev/null
  done
  SECONDS=0
}

# handle ENTRY: carries out one command. The record is the truth: an older command is dropped, others are refused.
handle() {
  local fields type id generation hash rec
  fields=$(redis-cli --json -u "$URL" XRANGE "$COMMANDS" "$1" "$1" | jq -c '.[0][1] // [] | [_nwise(2) | {key: .[0], value: .[1]}] | from_entries') || return
  IFS='|' read -r type id generation hash < <(jq -r '"\(.type)|\(.id)|\(.generation)|\(.specHash)"' <<<"$fields")
  rec=$(record "$id")
  set -- "$1" $rec # op $2, generation $3, specHash $4
  if [[ ! $generation =~ ^[0-9]{1,15}$ || $# != 4 || $type != @(deploy|undeploy) ]] || [ "$generation" -gt "$3" ] || { [ "$generation" = "$3" ] && [ "$hash" != "$4" ]; }; then
    r XADD "$DEAD" MAXLEN '~' 10000 '*' stream commands id "$1" reason 'this was never dispatched' by "$ME" ts "$(now)" fields "$fields" >/dev/null || return
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
  for entry in $(mine); do r XCLAIM "$COMMANDS" crm "$ME" 0 "$entry" JUSTID >/dev/null; done # no colleague shall take it
  sleep 5
done &
trap 'kill %1' EXIT
trap exit TERM INT
while :; do
  r XGROUP CREATE "$COMMANDS" crm 0 MKSTREAM >/dev/null # an error if it is there
  resync full # first the records, then the commands
  while r XAUTOCLAIM "$COMMANDS" crm "$ME" 30000 0 JUSTID >/dev/null && # what a dead colleague left becomes mine
    r XREADGROUP GROUP crm "$ME" COUNT 100 BLOCK 1000 STREAMS "$COMMANDS" '>' >/dev/null; do
    for entry in $(mine); do handle "$entry"; done
    [ "$SECONDS" -lt 30 ] || resync '' # a restored Redis may have other records, and says nothing
  done
  sleep 1 # Redis is away, or lost its data (NOGROUP), and what runs is kept: begin again
done
