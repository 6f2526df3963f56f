"""Ends a worker process whose device is lost, so that its runner starts another.

After some errors (an illegal address, a failed launch) CUDA answers every later call of the process
with an error too. Another process on the same device is not affected.

Source: CUDA runtime API, part 6.3 (errors after which "the process must be terminated").
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from beam_export.errors import RunError

__all__ = ["EXIT_CODE", "WORKER", "end_process", "is_worker"]

_LOG = logging.getLogger(__name__)

#: Environment variable that the local runner's workers set as they begin.
WORKER = "BEAM_EXPORT_WORKER"
#: How `boot`, the entry of Beam's containers, runs a worker.
_BEAMS_WORKER = "apache_beam.runners.worker.sdk_worker_main"
#: `EX_TEMPFAIL` of sysexits.h: what failed may succeed when it is tried again.
EXIT_CODE = 75


def is_worker() -> bool:
    """Returns whether this process is a worker, which its runner replaces once it has ended."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    # Processes below a worker have its environment, but not its id.
    return os.environ.get(WORKER) == str(os.getpid()) or getattr(spec, "name", "") == _BEAMS_WORKER


def end_process(sentence: str) -> NoReturn:
    """Ends a worker process at once, and says why in its log.

    Args:
        sentence: what has happened and what to do.

    Raises:
        RunError: with the sentence, in any other process, which has more to do than to encode.
    """
    if is_worker():
        _LOG.critical("%s", sentence)
        # Threads that wait for the device may never come back.
        os._exit(EXIT_CODE)
    raise RunError(sentence)
