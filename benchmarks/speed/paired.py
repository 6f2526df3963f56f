"""Figures of runs that took turns: medians, spread, and ratios of pairs, start-up taken off."""

from __future__ import annotations

import collections
import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import Usage
from benchmarks.speed.contestants import KINDS, OURS, ROOT

__all__ = ["Runs", "saved", "spread", "summary", "table"]


def _lists() -> dict[str, list[Usage]]:
    return collections.defaultdict(list)


@dataclasses.dataclass
class Runs:
    """What each contestant has used, by its name.

    Attributes:
        starts: on one image, which is its start-up.
        whole: on all images, once per run.
        peaks: bytes of memory, of one more run.
        failed: how it failed.
    """

    starts: dict[str, list[Usage]] = dataclasses.field(default_factory=_lists)
    whole: dict[str, list[Usage]] = dataclasses.field(default_factory=_lists)
    peaks: dict[str, int] = dataclasses.field(default_factory=dict)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)

    def fail(self, name: str, error: str) -> None:
        """Notes that a contestant failed; what it has done before does not count."""
        self.failed[name] = error
        self.starts.pop(name, None)
        self.whole.pop(name, None)

    def net(self, name: str, what: str) -> list[float]:
        """Returns `wall` or `cpu` seconds of each run, the median start-up taken off."""
        start = statistics.median(getattr(used, what) for used in self.starts[name])
        return [getattr(used, what) - start for used in self.whole[name]]


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Returns median, least and most.

    >>> spread([2.0, 1.0, 4.0])
    {'median': 2.0, 'least': 1.0, 'most': 4.0}
    """
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def summary(done: Runs, images: int, versions: Mapping[str, str]) -> dict[str, Any]:
    """Returns the figures of each contestant, and how much faster ours is in each run's pair."""
    figures = {name: _figures(done, name, images) for name in done.whole}
    for name, version in versions.items():
        if name in figures:
            figures[name]["version"] = version
    ratios = {
        name: {what: spread(_ratios(done, name, what)) for what in ("wall", "cpu")}
        for name in done.whole
        if name != OURS
    }
    return {"contestants": figures, "ours_times_as_fast_as": ratios, "failed": done.failed}


def _figures(done: Runs, name: str, images: int) -> dict[str, Any]:
    wall, cpu = done.net(name, "wall"), done.net(name, "cpu")
    starts = done.starts[name]
    return {
        "images_per_second": round(images / statistics.median(wall), 1),
        "images_per_cpu_second": round(images / statistics.median(cpu), 1),
        "wall_s": spread(wall),
        "cpu_s": spread(cpu),
        "start_wall_s": spread([used.wall for used in starts]),
        "start_cpu_s": spread([used.cpu for used in starts]),
        "peak_mb": round(done.peaks[name] / 1e6),
        "runs": len(wall),
    }


def _ratios(done: Runs, name: str, what: str) -> list[float]:
    pairs = zip(done.net(name, what), done.net(OURS, what), strict=True)
    return [theirs / ours for theirs, ours in pairs]


def saved(beginning: str) -> dict[str, dict[str, Any]]:
    """Returns the results that there are under names with that beginning, by kind."""
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for end in ("", "_without_sha"):
            path = ROOT / "benchmarks" / "results" / f"{beginning}_{kind}{end}.json"
            if path.exists():
                found[path.stem] = json.loads(path.read_text())
    return found


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns results as a table of Markdown: a row for each contestant."""
    head = (
        *("work", "by", "images/s", "of them, ours", "per CPU s", "of them, ours"),
        *("start-up s", "peak MB"),
    )
    rows = [head, ("---",) * len(head)]
    for result in results.values():
        work = f"{result['kind']}, {result['images']:,}"
        if not result["sha_instructions_used"]:
            work += ", no SHA instructions"
        for name, one in result["contestants"].items():
            ratio = result["ours_times_as_fast_as"].get(name)
            rows.append((work, name, *_cells(one, ratio)))
            work = ""
        for name in result.get("not_installed", {}):
            rows.append((work, name, "not installed", *[""] * (len(head) - 3)))
        for name in result.get("failed", {}):
            rows.append((work, name, "failed", *[""] * (len(head) - 3)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(one: Mapping[str, Any], ratio: Mapping[str, Any] | None) -> list[str]:
    def times(what: str) -> str:
        if ratio is None:
            return ""
        found = ratio[what]
        return f"{found['median']:.2f} ({found['least']:.2f} to {found['most']:.2f})"

    wall, cpu = one["images_per_second"], one["images_per_cpu_second"]
    return [
        *(f"{wall:,.0f}", times("wall"), f"{cpu:,.0f}", times("cpu")),
        *(f"{one['start_wall_s']['median']:.2f}", f"{one['peak_mb']:,}"),
    ]
