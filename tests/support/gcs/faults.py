"""Faults on order: of the next requests of some kind, or of any, at random."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import threading
from collections import Counter
from typing import Any
from urllib.parse import unquote

__all__ = ["KINDS", "Fault", "Faults"]

#: status: answered so, and not done; late_status: done, but answered so;
#: reset: the connection is reset, and nothing done; lost: done, and then reset;
#: truncated: half of the answer's body, then the end of the connection;
#: interrupted: the request's body does not come further than `size`; what came may be kept;
#: corrupt: a bit of the answer's body is another; slow: done `seconds` later;
#: replaced: the object that is asked for has other bytes of that number, before it is answered.
KINDS = {
    *("status", "late_status", "reset", "lost"),
    *("truncated", "interrupted", "corrupt", "slow", "replaced"),
}


@dataclasses.dataclass
class Fault:
    """What is to go wrong, with which requests, and how often (always, if `count` is None).

    Attributes:
        method: of the requests; any if it is empty.
        path: a regular expression that is found in their path and query, unquoted.
        skip: so many of them are let through before.
    """

    kind: str
    method: str = ""
    path: str = ""
    count: int | None = 1
    skip: int = 0
    status: int = 503
    seconds: float = 0.0
    size: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is none of {sorted(KINDS)}")
        re.compile(self.path)

    def fits(self, method: str, target: str) -> bool:
        return self.method in ("", method) and re.search(self.path, unquote(target)) is not None


@dataclasses.dataclass(frozen=True)
class _AtRandom:
    rate: float
    seed: int
    kinds: list[str]
    statuses: list[int]


class Faults:
    """Which fault each request meets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ordered: list[Fault] = []
        self._random: _AtRandom | None = None
        self._seen: Counter[str] = Counter()

    def add(self, **given: Any) -> None:
        """Orders a fault: see `Fault`; with a `rate`, faults of any requests: `_AtRandom`."""
        with self._lock:
            if "rate" in given:
                self._random = _AtRandom(**given)
            else:
                self._ordered.append(Fault(**given))

    def clear(self) -> None:
        with self._lock:
            self._ordered.clear()
            self._random = None
            self._seen.clear()

    def draw(self, method: str, target: str, content_range: str, size: int) -> Fault | None:
        """Returns the fault of a request; `size` is that of its body."""
        with self._lock:
            for fault in self._ordered:
                if not fault.fits(method, target) or fault.count == 0:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.count is not None:
                    fault.count -= 1
                return fault
            return self._draw_at_random(method, target, content_range, size)

    def _draw_at_random(self, method: str, target: str, more: str, size: int) -> Fault | None:
        if self._random is None:
            return None
        # Not by order of arrival, which several workers change; nor by the random id of an upload.
        what = f"{method} {re.sub('upload_id=[^&]*', '', target)} {more}"
        self._seen[what] += 1
        digest = hashlib.sha256(f"{self._random.seed} {what} {self._seen[what]}".encode()).digest()
        if int.from_bytes(digest[:8], "big") >= self._random.rate * 2**64:
            return None
        kinds = [kind for kind in self._random.kinds if size or kind != "interrupted"]
        kind = kinds[digest[8] % len(kinds)]
        status = self._random.statuses[digest[9] % len(self._random.statuses)]
        return Fault(kind, status=status, size=size * digest[10] // 256)
