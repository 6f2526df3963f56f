#!/bin/sh
# Exports within one container of the image, offline: a pool of workers, a job server of Beam's, the command.
#   pool_run.sh POOL_LOG FLAG...
set -eu
log=$1
shift

# reachable PORT
reachable() {
    python - "$1" << 'END'
import socket, sys, time
for _ in range(600):
    with socket.socket() as probe:
        if probe.connect_ex(("localhost", int(sys.argv[1]))) == 0:
            sys.exit()
    time.sleep(0.1)
sys.exit(f"nobody answers at port {sys.argv[1]}")
END
}

/opt/apache/beam/boot --worker_pool > "$log" 2>&1 &
python -m apache_beam.runners.portability.local_job_service_main --port=8099 > /tmp/server.log 2>&1 &
reachable 50000 || { cat "$log"; exit 1; }
reachable 8099 || { cat /tmp/server.log; exit 1; }
beam-export export "$@" --runner=PortableRunner --job_endpoint=localhost:8099 \
    --environment_type=EXTERNAL --environment_config=localhost:50000 || { cat "$log"; exit 1; }
