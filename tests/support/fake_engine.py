"""An engine of DALI's encoder that is made up: it has as much memory, and fails, as it is told."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from beam_export.images.dali.routing import DaliImage

__all__ = ["FakeEngine", "jobs_of"]


class FakeEngine:
    """Holds `room` images at a time; fails for good when `broken`; gives None for `bad` widths."""

    def __init__(self, room: int = 99, broken: str = "", bad: Sequence[int] = ()) -> None:
        self.room, self.broken, self.bad = room, broken, bad
        self.batches: list[int] = []
        self.busy = threading.Lock()

    def encode(self, jobs: Sequence[DaliImage]) -> list[bytes | None]:
        assert self.busy.acquire(blocking=False), "two threads at once"
        try:
            self.batches.append(len(jobs))
            if self.broken:
                raise RuntimeError(self.broken)
            if len(jobs) > self.room:
                raise RuntimeError("CUDA out of memory")
            return [None if job.width in self.bad else b"%d" % job.width for job in jobs]
        finally:
            self.busy.release()


def jobs_of(widths: Sequence[int]) -> list[DaliImage]:
    return [DaliImage(b"", "jpg", width, 1, 3) for width in widths]
