"""What Beam's runner starts as a worker where there is a fork server: it waits for the forked one.

It runs as a script, without site-packages, so that it is there in some milliseconds. It ends as its
worker ends, by the same signal even. Where the server cannot be reached it becomes a worker itself.
"""

import os
import resource
import signal
import socket
import struct
import sys

__all__ = ["FORK_SERVER", "LENGTH", "SHIM", "main"]

#: Environment variable with the address of the server.
FORK_SERVER = "BEAM_EXPORT_FORK_SERVER"
#: Environment variable of a forked worker with the id of the process that waits for it.
SHIM = b"BEAM_EXPORT_SHIM"
#: What goes before the environment: its number of bytes.
LENGTH = struct.Struct(">Q")


def main() -> None:
    """Has a worker forked, and ends as it does."""
    environ = {**os.environb, SHIM: b"%d" % os.getpid()}
    data = b"\0".join(b"%s=%s" % pair for pair in environ.items())
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(os.environ[FORK_SERVER])
        server.sendall(LENGTH.pack(len(data)) + data)
    except OSError:
        server.close()
        os.execv(sys.executable, [sys.executable, "-m", "beam_export.cli.worker"])
    try:
        answer = server.recv(16)
    except OSError:
        answer = b""
    # No answer: the server has been killed, and the worker with it.
    _end(int(answer) if answer else -signal.SIGKILL)


def _end(code: int) -> None:
    if code < 0:
        # The core dump is the worker's.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
