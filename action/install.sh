#!/usr/bin/env bash
# Builds oprc from the checkout that holds this script, with Go. An oprc on the PATH is
# used as it is.
#
#   OPRC_BIN  directory of the binary
set -euo pipefail

if command -v oprc >/dev/null; then
  exit 0
fi
bin=${OPRC_BIN:-${RUNNER_TEMP:-$HOME}/oprc-bin}
mkdir -p "$bin"
CGO_ENABLED=0 go build -C "$(dirname "${BASH_SOURCE[0]}")/.." -buildvcs=false -o "$bin/oprc" ./cmd/oprc
[ -z "${GITHUB_PATH:-}" ] || echo "$bin" >> "$GITHUB_PATH"
"$bin/oprc" version
