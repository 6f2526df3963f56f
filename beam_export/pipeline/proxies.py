"""Keeps gRPC between the processes of this machine away from proxies."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

__all__ = ["spare_this_machine"]

_PROXIES = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy")
#: Where exceptions from them are named; gRPC reads the first of those that is set, and no other.
_EXCEPTIONS = ("no_grpc_proxy", "NO_GRPC_PROXY", "no_proxy", "NO_PROXY")
_LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")


def spare_this_machine(
    *, full_name: bool = False, environ: MutableMapping[str, str] = os.environ
) -> None:
    """Keeps gRPC's channels to this machine away from a proxy that the environment names.

    A proxy has no way back to this machine's ports: a process would wait for an answer for ever.
    All else goes where it went: whatever is exempt from proxies for gRPC stays so, and what does
    not speak gRPC, object stores among it, does not look at `no_grpc_proxy`. Processes that are
    started later inherit it. Without a proxy nothing is touched.

    Args:
        full_name: whether this machine may be called by its full name, which a name server gives.
        environ: of the process.
    """
    if not any(name.lower() in _PROXIES and value for name, value in environ.items()):
        return
    given = next((environ[name] for name in _EXCEPTIONS if name in environ), "")
    entries = [entry for entry in map(str.strip, given.split(",")) if entry]
    ours = (*_LOCAL, socket.gethostname(), socket.getfqdn() if full_name else "")
    entries += [name for name in dict.fromkeys(ours) if name and name not in entries]
    environ["no_grpc_proxy"] = ",".join(entries)
