#!/usr/bin/env bash
# Plans once and keeps the plan in every format that CI shows. Everything comes from the
# environment, and nothing of it is read as shell:
#
#   OPRC_FILES      files, directories or patterns, one a line
#   OPRC_SOURCE     the Git source of the daemon that they are
#   OPRC_SERVER     with OPRC_TOKEN, or
#   OPRC_SNAPSHOT   with OPRC_VERIFY_KEY
#   OPRC_POLICIES   one a line
#   OPRC_ARGS       further arguments, between spaces
#   OPRC_FORMAT     what is printed: github, text
#   OPRC_OUT        directory of plan.md, plan.sarif, plan.json
#
# It ends well whatever the plan is: the exit code is an output, judged after the comment.
set -uo pipefail

args=(--detailed-exitcode -o "${OPRC_FORMAT:-text}")
while IFS= read -r file; do
  [ -z "$file" ] || args+=(-f "$file")
done <<< "${OPRC_FILES:-.}"
while IFS= read -r policy; do
  [ -z "$policy" ] || args+=(--policy "$policy")
done <<< "${OPRC_POLICIES:-}"
[ -z "${OPRC_SOURCE:-}" ] || args+=(--as-source "$OPRC_SOURCE")
[ -z "${OPRC_SERVER:-}" ] || args+=(--server "$OPRC_SERVER")
[ -z "${OPRC_SNAPSHOT:-}" ] || args+=(--against "$OPRC_SNAPSHOT")
[ -z "${OPRC_VERIFY_KEY:-}" ] || args+=(--verify-key "$OPRC_VERIFY_KEY")
read -ra more <<< "${OPRC_ARGS:-}"
args+=(${more[@]+"${more[@]}"})

out=${OPRC_OUT:-.}
mkdir -p "$out"
rm -f "$out/plan.md" "$out/plan.sarif" "$out/plan.json"
oprc plan "${args[@]}" --report "markdown=$out/plan.md" --report "sarif=$out/plan.sarif" --report "json=$out/plan.json"
code=$?
if [ ! -s "$out/plan.md" ]; then # no plan came about: the comment says so, too
  printf '### oprc plan: failed\n\nNo plan was made (exit code %d); the log of the job says why.\n' "$code" > "$out/plan.md"
fi
id=$(sed -n 's/^ *"planId": *"\(sha256:[0-9a-f]*\)".*/\1/p' "$out/plan.json" 2>/dev/null | head -n 1)
{
  echo "exit-code=$code"
  echo "plan-id=$id"
  echo "markdown=$out/plan.md"
  echo "sarif=$out/plan.sarif"
  echo "json=$out/plan.json"
} >> "${GITHUB_OUTPUT:-$out/outputs}"
[ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat "$out/plan.md" >> "$GITHUB_STEP_SUMMARY"
