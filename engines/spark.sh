#!/usr/bin/env bash
# Starts Beam's Spark job server with a Spark of its own (two threads), or in front of a cluster, and
# says how to run an export on it.
#   engines/spark.sh [MASTER]    serve on port 8098; MASTER is a cluster's URL, spark://HOST:PORT
#   engines/spark.sh --fetch     only fetch the job server; prints where it is
# Needs Java 11 or 17 and Maven. The job server is that of the Beam in requirements.txt, or, where
# that cannot be had, of an older Beam, in the parts that engines/spark-parts names: for Spark 3.5.
# JOB_PORT (8098) is the job server's.
set -euo pipefail
. "$(dirname "$0")/common.sh"
port=${JOB_PORT:-8098}

need java mvn
jars=$(jars_of spark beam-runners-spark-3-job-server)
if [ "${1:-}" = --fetch ]; then
    echo "$jars"
    exit
fi

# What Spark has to reach within Java since version 17 of it.
opened=()
for package in java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.util \
    java.util.concurrent java.util.concurrent.atomic sun.nio.ch sun.nio.cs sun.security.action \
    sun.util.calendar; do
    opened+=("--add-opens=java.base/$package=ALL-UNNAMED")
done

# Of a Spark of its own, nothing is reached from elsewhere. A task whose worker dies is tried again.
own=(-Dspark.driver.host=localhost -Dspark.driver.bindAddress=127.0.0.1)
[ -z "${1:-}" ] || own=()

say_when_ready "$port" --environment_cache_millis=600000
exec java "${opened[@]}" "${own[@]}" -Dspark.ui.enabled=false \
    -Dlog4j2.configurationFile="$engines/spark-conf/log4j2.properties" -cp "$jars/*" \
    org.apache.beam.runners.spark.SparkJobServerDriver --spark-master-url "${1:-local[2,4]}" \
    --job-host localhost --job-port "$port" --artifact-port 0 --expansion-port 0
