#!/usr/bin/env bash
# Starts Beam's Flink job server with a Flink of its own (two slots), or in front of a cluster, and
# says how to run an export on it.
#   engines/flink.sh [HOST:PORT]    serve on port 8099; HOST:PORT is a cluster's REST address
#   engines/flink.sh --fetch        only fetch the job server; prints where it is
# Needs Java 11 or later and Maven. FLINK_VERSION names the cluster's Flink: then the job server is
# that of the Beam in requirements.txt, for this Flink, or none. Without it Flink is 1.20, and where
# that job server cannot be had, Flink 1.19 with an older Beam, in the parts that engines/flink-parts
# names.
# JOB_PORT (8099) is the job server's.
set -euo pipefail
. "$(dirname "$0")/common.sh"
flink=${FLINK_VERSION:-1.20}
port=${JOB_PORT:-8099}

need java mvn
jars=$(jars_of flink "beam-runners-flink-$flink-job-server" ${FLINK_VERSION:+whole})
if [ "${1:-}" = --fetch ]; then
    echo "$jars"
    exit
fi

say_when_ready "$port" --parallelism=2 --environment_cache_millis=600000
# The configuration is that of the Flink it starts itself; a cluster has its own.
# Of what it says, a page of metrics per job is left out, and a line per step and worker.
logger=org.slf4j.simpleLogger
exec java -D$logger.defaultLogLevel=warn -D$logger.log.org.apache.beam=info \
    -D$logger.log.org.apache.beam.runners.flink.FlinkPipelineRunner=warn \
    -D$logger.log.org.apache.beam.runners.fnexecution=warn \
    -D$logger.log.org.apache.flink.metrics.MetricGroup=error \
    -cp "$jars/*" org.apache.beam.runners.flink.FlinkJobServerDriver \
    --flink-master "${1:-[local]}" --flink-conf-dir "$engines/flink-conf" \
    --job-host localhost --job-port "$port" --artifact-port 0 --expansion-port 0
