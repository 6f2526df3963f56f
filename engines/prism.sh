#!/usr/bin/env bash
# Starts Beam's Prism runner as a job server, and says how to run an export on it.
#   engines/prism.sh [PORT]     build it if need be, and serve on PORT (8073)
#   engines/prism.sh --build    only build it; prints where it is
# Needs Go. The version is the one of Beam that requirements.txt pins.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/^apache-beam==//p' "$here/../requirements.txt")
binary=$here/.cache/prism-$version

if [ ! -x "$binary" ]; then
    command -v go > /dev/null || { echo "engines/prism.sh: Go is not installed" >&2; exit 1; }
    mkdir -p "$here/.cache"
    made=$(mktemp -d "$here/.cache/build.XXXXXX")
    trap 'rm -rf "$made"' EXIT
    GOBIN=$made go install "github.com/apache/beam/sdks/v2/go/cmd/prism@v$version" >&2
    mv "$made/prism" "$binary"
    rmdir "$made"
    trap - EXIT
fi
if [ "${1:-}" = --build ]; then
    echo "$binary"
    exit
fi

port=${1:-8073}
echo "beam-export export ... --runner=PortableRunner --job_endpoint=localhost:$port --environment_type=LOOPBACK" >&2
exec "$binary" --job_port "$port" --serve_http=false
