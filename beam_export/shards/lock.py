"""Reserves the output directory for one run at a time, and removes files of dead runs.

On this machine a run holds a lock on `OUT/_tmp/lock` as long as its process lives, however it
ends; a second run refuses. Elsewhere (object stores, workers of other machines) there is no such
lock, and no object stands for one either: whether the run that made it still lives could not be
known, so each killed run would block the one that is to resume it. There, each file is written
under a condition (`output.Output`): two runs of the same plan write identical bytes and both
succeed; otherwise the run that writes a file second fails. Temporary files are removed when they
are a week old.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import uuid
import weakref

from beam_export.errors import InputError
from beam_export.options import ExportOptions
from beam_export.shards.leftovers import refuse_existing
from beam_export.shards.output import Output
from beam_export.shards.workspace import LOCK

__all__ = ["prepare_output", "release_output"]

#: Seconds after which temporary files count as a dead run's, where there is no lock.
_OLD = 7 * 24 * 3600
_TRIES = 5


class _Held:
    """A lock that this process holds by a file descriptor, and the runs that share it."""

    def __init__(self, lock: int) -> None:
        self.lock = lock
        self.runs: weakref.WeakSet[Output] = weakref.WeakSet()


_held: dict[str, _Held] = {}
_guard = threading.RLock()


def prepare_output(options: ExportOptions, *, bound: bool) -> Output:
    """Returns the output directory of a new run: created, locked, rid of files of dead runs.

    Args:
        options: of the export.
        bound: whether the run ends with this process, as on the local runner.

    Raises:
        InputError: if it cannot be written to, another process is writing to it, or an export
            stands there that is not to be resumed.
    """
    output = Output(options.output_dir, uuid.uuid4().hex)
    try:
        output.prepare()
        _reserve(output, bound=bound)
        if not (options.resume or options.clean):
            refuse_existing(output)
    except BaseException:
        # A storage far away that cannot be written to holds nothing of this, and may not answer.
        if output.is_local or output.is_ready:
            with contextlib.suppress(OSError):
                release_output(output)
        raise
    return output


def _reserve(output: Output, *, bound: bool) -> None:
    """Locks a prepared directory for a run, and removes temporary files of dead runs.

    Args:
        output: of the run.
        bound: whether the run ends with this process, as on the local runner.

    Raises:
        InputError: if another process is writing there.
    """
    if output.is_local and bound:
        with _guard:
            locked = _hold(output)
        _sweep_dead(output, certain=locked)
        return
    if output.is_local:
        output.work.mark_workers_outlive()
    _sweep_dead(output, certain=False)


def release_output(output: Output) -> None:
    """Releases the output directory at the end of a run, and removes the run's temporary files."""
    output.work.end()
    output.sweep()
    with _guard:
        held = _held.get(_key(output))
        if held is None or output not in held.runs:
            return
        held.runs.discard(output)
        _let_go(_key(output))


def _key(output: Output) -> str:
    return os.path.realpath(output.directory)


def _hold(output: Output) -> bool:
    """Takes the lock, which runs of one process share; returns False where there are no locks."""
    key, path = _key(output), output.path(f"_tmp/{LOCK}")
    held = _held.get(key)
    if held is None or not _stands(held.lock, path):
        lock = _lock(output, path)
        if lock is None:
            return False
        if held is not None:
            os.close(held.lock)
        held = _held[key] = _Held(lock)
    held.runs.add(output)
    # A pipeline that was built and never run, or failed, releases it when it is collected.
    weakref.finalize(output, _let_go, key)
    return True


def _lock(output: Output, path: str) -> int | None:
    """Returns a file descriptor that holds the lock; None on a file system without locks."""
    for _ in range(_TRIES):
        try:
            lock = output.open_lock()
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise _refusal(output) from error
        except OSError:
            os.close(lock)
            return None
        # The run that had it may have removed it at its end, and a third may hold a new one.
        if _stands(lock, path):
            return lock
        os.close(lock)
    raise _refusal(output)


def _refusal(output: Output) -> InputError:
    return InputError(
        f"--output_dir={output.directory} is being written to by another run: wait for its end, "
        "or give another directory."
    )


def _stands(lock: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False


def _let_go(key: str) -> None:
    """Releases a lock that no run needs any more."""
    with _guard:
        held = _held.get(key)
        # Not by its length, in which one that is just dying still counts.
        if held is not None and not list(held.runs):
            os.close(held.lock)
            del _held[key]


def _sweep_dead(output: Output, *, certain: bool) -> None:
    """Removes temporary files of runs that are dead.

    Args:
        output: of the run that begins.
        certain: whether runs of this machine are known to be dead unless they are this process's.
    """
    held = _held.get(_key(output))
    alive = {output.token, *(run.token for run in (held.runs if held else ()))}
    for token, updated in output.work.others().items():
        if token in alive:
            continue
        work = output.work.of(token)
        if time.time() - updated > _OLD or (certain and not work.workers_outlive()):
            # What may have ended that run is known to this one (see `images.crash_guard`), and
            # which tars are its own.
            output.work.adopt(token)
            work.sweep()
