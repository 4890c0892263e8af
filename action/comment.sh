#!/usr/bin/env bash
# Writes a comment into a pull or merge request, or updates the one that it wrote before:
# a marker that no reader sees tells it from others. Needs curl and jq.
#
#   FORGE             github, which is the default, or gitlab
#   FORGE_API         https://api.github.com, https://gitlab.example/api/v4
#   FORGE_TOKEN       may write comments
#   FORGE_REPOSITORY  owner/name; of GitLab the number of the project
#   FORGE_NUMBER      of the request
#   COMMENT_ID        tells several comments of ours apart
#   COMMENT_FILE      Markdown
set -euo pipefail

marker="<!-- oprc comment: ${COMMENT_ID:-plan} -->"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
{ printf '%s\n' "$marker"; cat "$COMMENT_FILE"; } > "$dir/body.md"
if [ "$(wc -c < "$dir/body.md")" -gt 65536 ]; then # GitHub refuses more: whole lines, as many as fit
  LC_ALL=C awk '(n += length($0) + 1) > 65400 {exit} {print}' "$dir/body.md" > "$dir/cut.md"
  printf '\nThe rest did not fit into a comment.\n' >> "$dir/cut.md"
  mv "$dir/cut.md" "$dir/body.md"
fi
jq -n --rawfile body "$dir/body.md" '{body: $body}' > "$dir/body.json"

case ${FORGE:-github} in
  github)
    header="Authorization: Bearer $FORGE_TOKEN"
    list="$FORGE_API/repos/$FORGE_REPOSITORY/issues/$FORGE_NUMBER/comments"
    one="$FORGE_API/repos/$FORGE_REPOSITORY/issues/comments"
    update=PATCH
    ;;
  gitlab)
    header="PRIVATE-TOKEN: $FORGE_TOKEN"
    list="$FORGE_API/projects/$FORGE_REPOSITORY/merge_requests/$FORGE_NUMBER/notes"
    one=$list
    update=PUT
    ;;
  *) echo "FORGE is github or gitlab, not '$FORGE'" >&2; exit 64 ;;
esac

# No process has the token in its arguments.
printf 'header = "%s"\nheader = "Accept: application/json"\nheader = "Content-Type: application/json"\n' "$header" > "$dir/curl"
call() { curl -fsS --retry 3 --max-time 60 -K "$dir/curl" "$@"; }

id=
for page in $(seq 1 30); do
  call "$list?per_page=100&page=$page" > "$dir/page.json"
  id=$(jq -r --arg marker "$marker" '[.[] | select(.body | startswith($marker))][0].id // empty' "$dir/page.json")
  if [ -n "$id" ] || [ "$(jq length "$dir/page.json")" -lt 100 ]; then break; fi
done
if [ -n "$id" ]; then
  call -X "$update" --data-binary "@$dir/body.json" "$one/$id" > /dev/null
  echo "updated comment $id"
else
  call -X POST --data-binary "@$dir/body.json" "$list" > "$dir/new.json"
  echo "wrote comment $(jq -r .id "$dir/new.json")"
fi
