#!/usr/bin/env bash
# Starts Beam's Prism runner as a job server, and says how to run an export on it.
#   engines/prism.sh [PORT]     build it if need be, and serve on PORT (8073)
#   engines/prism.sh --build    only build it; prints where it is
# Needs Go. The version is the one of Beam that requirements.txt pins.
set -euo pipefail
. "$(dirname "$0")/common.sh"
binary=$cache/prism-$beam

if [ ! -x "$binary" ]; then
    need go
    mkdir -p "$cache"
    made=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$made"' EXIT
    GOBIN=$made tries go install "github.com/apache/beam/sdks/v2/go/cmd/prism@v$beam" >&2
    mv "$made/prism" "$binary"
    rmdir "$made"
    trap - EXIT
fi
if [ "${1:-}" = --build ]; then
    echo "$binary"
    exit
fi

port=${1:-${JOB_PORT:-8073}}
say_when_ready "$port"
exec "$binary" --job_port "$port" --serve_http=false
