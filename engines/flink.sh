#!/usr/bin/env bash
# Starts Beam's Flink job server with a Flink of its own (two slots), or in front of a cluster, and
# says how to run an export on it.
#   engines/flink.sh [HOST:PORT]    serve on port 8099; HOST:PORT is a cluster's REST address
#   engines/flink.sh --fetch        only fetch the job server; prints where it is
# Needs Java 11 or later and Maven. The version is the one of Beam that requirements.txt pins;
# FLINK_VERSION (1.20) has to be the cluster's, JOB_PORT (8099) is the job server's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/^apache-beam==//p' "$here/../requirements.txt")
flink=${FLINK_VERSION:-1.20}
port=${JOB_PORT:-8099}
name=beam-runners-flink-$flink-job-server
jar=$here/.cache/$name-$version.jar

for tool in java mvn; do
    command -v $tool > /dev/null || { echo "engines/flink.sh: $tool is not installed" >&2; exit 1; }
done
if [ ! -e "$jar" ]; then
    mkdir -p "$here/.cache"
    mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        -Dartifact="org.apache.beam:$name:$version" -DoutputDirectory="$here/.cache" >&2
fi
if [ "${1:-}" = --fetch ]; then
    echo "$jar"
    exit
fi

master=${1:-[local]}
echo "beam-export export ... --runner=PortableRunner --job_endpoint=localhost:$port --environment_type=LOOPBACK --parallelism=2" >&2
# The configuration is that of the Flink it starts itself; a cluster has its own.
exec java -jar "$jar" --flink-master "$master" --flink-conf-dir "$here/flink-conf" \
    --job-host localhost --job-port "$port" --artifact-port 0 --expansion-port 0
