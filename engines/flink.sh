#!/usr/bin/env bash
# Starts Beam's Flink job server with a Flink of its own (two slots), or in front of a cluster, and
# says how to run an export on it.
#   engines/flink.sh [HOST:PORT]    serve on port 8099; HOST:PORT is a cluster's REST address
#   engines/flink.sh --fetch        only fetch the job server; prints where it is
# Needs Java 11 or later and Maven. FLINK_VERSION names the cluster's Flink: then the job server is
# that of the Beam in requirements.txt, for this Flink, or none. Without it Flink is 1.20, and where
# that job server cannot be had, Flink 1.19 with an older one, which engines/flink-parts names.
# JOB_PORT (8099) is the job server's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
beam=$(sed -n 's/^apache-beam==//p' "$here/../requirements.txt")
flink=${FLINK_VERSION:-1.20}
port=${JOB_PORT:-8099}
name=beam-runners-flink-$flink-job-server
whole=$here/.cache/flink-$flink-$beam
parts=$here/.cache/flink-parts
plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1

for tool in java mvn; do
    command -v $tool > /dev/null || { echo "engines/flink.sh: $tool is not installed" >&2; exit 1; }
done

# Fetches into a folder that takes its name when all of it is there; of what Maven says of a failure,
# the first line is the reason.
fetch() {
    local folder=$1 said
    shift
    rm -rf "$folder.part"
    if said=$(mvn --batch-mode --quiet "$@" -DoutputDirectory="$folder.part" 2>&1); then
        mv "$folder.part" "$folder"
    else
        rm -rf "$folder.part"
        grep -m 1 ERROR <<< "$said" >&2
        return 1
    fi
}

find_jars() {
    if [ -d "$whole" ]; then
        jars=$whole
    elif [ -z "${FLINK_VERSION:-}" ] && [ -d "$parts" ]; then
        jars=$parts
    else
        return 1
    fi
}

if ! find_jars; then
    mkdir -p "$here/.cache"
    if ! fetch "$whole" "$plugin:copy" -Dartifact="org.apache.beam:$name:$beam"; then
        if [ -n "${FLINK_VERSION:-}" ]; then
            echo "engines/flink.sh: $name $beam cannot be had: give another FLINK_VERSION" >&2
            exit 1
        fi
        echo "engines/flink.sh: no $name $beam: taking the one of engines/flink-parts" >&2
        fetch "$parts" --file "$here/flink-parts/pom.xml" "$plugin:copy-dependencies" \
            -DincludeScope=runtime
    fi
    find_jars
fi
if [ "${1:-}" = --fetch ]; then
    echo "$jars"
    exit
fi

master=${1:-[local]}
echo "beam-export export ... --runner=PortableRunner --job_endpoint=localhost:$port --environment_type=LOOPBACK --parallelism=2" >&2
# The configuration is that of the Flink it starts itself; a cluster has its own.
exec java -cp "$jars/*" org.apache.beam.runners.flink.FlinkJobServerDriver \
    --flink-master "$master" --flink-conf-dir "$here/flink-conf" \
    --job-host localhost --job-port "$port" --artifact-port 0 --expansion-port 0
