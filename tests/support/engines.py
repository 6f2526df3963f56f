"""Job servers of engines, each a process of its own, and the flags that lead to one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.exports import ROOT

__all__ = [
    "ENGINES",
    "ENVIRON",
    "RETRYING",
    "Server",
    "free_port",
    "is_made",
    "jars_of",
    "serving",
    "wait_for",
]

#: Beam's reference job service, which needs nothing, and what `make engines` makes.
ENGINES = ("reference", "prism", "flink", "spark")
#: Those that run again what a lost worker had in work.
RETRYING = ("flink", "spark")
#: As it is where no virtual environment is activated.
ENVIRON = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_REFERENCE = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
_CACHE = ROOT / "engines" / ".cache"
#: Has engines in Java keep a worker for a job's next step, where they start one for each otherwise.
_KEEP = "--environment_cache_millis=600000"
#: Flags of one engine alone.
_MORE = {"flink": ["--parallelism=2", _KEEP], "spark": [_KEEP]}


def is_made(engine: str) -> bool:
    """Returns whether an engine is there to be started."""
    made = "prism-*" if engine == "prism" else f"*{engine}-*/*.jar"
    return engine == "reference" or any(_CACHE.glob(made))


def jars_of(engine: str) -> list[Path]:
    """Returns the jars of an engine in Java, those with which it is started."""
    script = [str(ROOT / "engines" / f"{engine}.sh"), "--fetch"]
    folder = subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return sorted(Path(folder).glob("*.jar"))


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


class Server(NamedTuple):
    """A job server that runs: the flags that send an export to it, and its process."""

    flags: list[str]
    process: int


@contextlib.contextmanager
def serving(engine: str, log: Path) -> Iterator[Server]:
    """Runs an engine's job server in the block.

    Args:
        engine: one of `ENGINES`.
        log: the file for what it says.

    Raises:
        RuntimeError: if it does not answer.
    """
    port = free_port()
    with log.open("wb") as target:
        server = subprocess.Popen(
            _command(engine, port),
            stdout=target,
            stderr=target,
            env={**ENVIRON, "JOB_PORT": str(port)},
        )
    try:
        wait_for(port, server, log)
        flags = [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{port}",
            "--environment_type=LOOPBACK",
            "--experiments=use_loopback_process_worker",
            *_MORE.get(engine, ()),
        ]
        yield Server(flags, server.pid)
    finally:
        server.terminate()
        server.wait(20)


def _command(engine: str, port: int) -> list[str]:
    if engine == "reference":
        return [*_REFERENCE, f"--port={port}"]
    return [str(ROOT / "engines" / f"{engine}.sh")]


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Returns once a server's process answers on a port.

    Raises:
        RuntimeError: if it ends, or does not answer for two minutes.
    """
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the server does not answer: {log.read_text()[-2000:]}")
