"""Checks all shards together: sums, one schema, ranks, failures, and samples of the input."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_export.errors import RunError
from beam_export.shards.manifest import Totals
from beam_export.verify.against_input import Span, hold_spans
from beam_export.verify.dataset import Opened
from beam_export.verify.findings import RESTORE, REWRITE, Fault, Faults, in_order
from beam_export.verify.shard import CheckedShard
from beam_export.verify.unique_names import Tally

__all__ = ["conclude"]

#: Sums over the table of shards that the manifest has under the same or another name.
_SUMS = {
    "written": "samples",
    "copied": "copied",
    "encoded": "encoded",
    "bytes": "bytes",
    "parquet_bytes": "parquet_bytes",
}
#: Figures of the steps that are totals too: (step, figure, total).
_STEPS = (
    ("read", "samples", "read"),
    ("settle equal ids", "dropped", "duplicate"),
    ("limit", "dropped", "limited"),
    ("encode", "copied", "copied"),
    ("encode", "encoded", "encoded"),
    ("write", "samples", "written"),
    ("write", "shards", "shards"),
)
_INPUT = "give the input that was exported, as it was, or export again"


def conclude(
    opened: Opened,
    shards: Sequence[CheckedShard],
    tallies: Iterable[Tally] | None = None,
    spans: Sequence[Span] = (),
) -> list[Fault]:
    """Returns the faults of the dataset as a whole.

    Args:
        opened: what was known before the shards were read.
        shards: all that were read, in any order.
        tallies: of the samples of the input that have no counterpart; None if there is no input.
        spans: the order keys of the shards, of an input.
    """
    ending = _Ending(opened, sorted(shards, key=lambda shard: shard.number))
    ending.hold_schemas()
    ending.hold_ranks()
    ending.hold_failures()
    if opened.manifest is not None:
        ending.hold_layout(opened.manifest["options"])
        ending.hold_totals(opened.manifest)
        if tallies is not None:
            ending.hold_input(opened.manifest["totals"], list(tallies), spans)
    return in_order([*ending.faults.all(), *hold_spans(spans, opened.names)])


class _Ending:
    def __init__(self, opened: Opened, shards: list[CheckedShard]) -> None:
        self._opened, self._shards = opened, shards
        self._readable = [shard for shard in shards if shard.columns is not None]
        self.faults = Faults(RESTORE)

    def hold_schemas(self) -> None:
        """All shards have one schema, and it is the manifest's."""
        counts = collections.Counter(shard.schema for shard in self._readable)
        if not counts:
            return
        common = min(counts, key=lambda schema: (-counts[schema], schema))
        for shard in self._readable:
            if shard.schema != common:
                self._add_shard(shard.number, "its columns are not those of the other shards")
        manifest = self._opened.manifest
        described = next(one.described for one in self._readable if one.schema == common)
        if manifest is not None and _columns(manifest["schema"]) != _columns(
            {"name": name, "type": type_} for name, type_ in described
        ):
            self._add_manifest("its schema is not that of the shards")

    def hold_ranks(self) -> None:
        """Ranks in names go on from shard to shard."""
        manifest = self._opened.manifest
        if manifest is None or manifest["options"].get("member_names") != "sequential":
            return
        last = ""
        for shard in self._readable:
            if (len(shard.first), shard.first) <= (len(last), last):
                self.faults.add(
                    self._opened.names.tar(shard.number),
                    "its first rank is not above the last one of the shard before",
                    shard.first,
                    REWRITE,
                )
            last = shard.last

    def hold_layout(self, options: Mapping[str, Any]) -> None:
        """Every shard but the last was planned with as many samples as were asked for."""
        most = options.get("images_per_tar")
        if type(most) is not int:
            self._add_manifest("its options do not have images_per_tar")
            return
        exact = options.get("max_tar_bytes") is None and self._opened.whole
        for shard in self._readable:
            planned = (shard.columns or {})["samples"] + len(shard.failures)
            last = shard.number == self._opened.numbers[-1]
            if planned > most or (exact and not last and planned != most):
                self._add_shard(
                    shard.number, f"it holds or lists {planned} samples, and should {most}"
                )

    def hold_failures(self) -> None:
        """The failures of the shards stand in the table of failures; others are from before."""
        names = self._opened.names
        listed = collections.Counter(tuple(row.values()) for row in self._opened.failures)
        for shard in self._readable:
            for failure in shard.failures:
                if not listed[tuple(failure)]:
                    self.faults.add(
                        names.failures,
                        f"a failure of {names.parquet(shard.number)} is not in it",
                        failure.image_id,
                    )
                listed[tuple(failure)] -= 1
        manifest = self._opened.manifest
        if manifest is None or not self._all_read():
            return
        before = (+listed).total()
        steps: list[dict[str, Any]] = manifest["steps"]
        # Those that the sources tell of, and those that a probe has found.
        stated = sum(one.get("failed", 0) for one in steps if one.get("step") in ("read", "probe"))
        if stated != before:
            self.faults.add(
                names.failures,
                f"{before} of its failures are of no shard, and the manifest says {stated}",
            )

    def hold_totals(self, manifest: Mapping[str, Any]) -> None:
        """The manifest's sums are those of the shards, and agree with each other."""
        try:
            totals = Totals(**manifest["totals"])
            totals.check()
        except (TypeError, RunError):
            self._add_manifest("its totals do not add up")
            return
        steps = {str(one.get("step")): one for one in manifest["steps"]}
        for step, figure, total in _STEPS:
            if steps.get(step, {}).get(figure, getattr(totals, total)) != getattr(totals, total):
                self._add_manifest(f"{figure} of its step {step!r} is not its total {total}")
        if totals.failed != len(self._opened.failures):
            self._add_manifest(
                f"it says that {totals.failed} samples failed, and the failures table has "
                f"{len(self._opened.failures)} rows"
            )
        rows = self._rows()
        if rows is None:
            return
        if totals.shards != len(rows):
            self._add_manifest(f"it says {totals.shards} shards, and there are {len(rows)}")
        for total, column in _SUMS.items():
            found = sum(row[column] or 0 for row in rows)
            if found != getattr(totals, total):
                self._add_manifest(
                    f"its total {total} is {getattr(totals, total)}, and the shards have {found}"
                )

    def _rows(self) -> list[Mapping[str, Any]] | None:
        """Returns what is to be summed; None if that is not all.

        Each shard was held against its row in the table: one fault is not to be told twice.
        """
        if self._opened.shards is not None:
            return list(self._opened.shards.values())
        found = [shard.columns for shard in self._readable if shard.columns is not None]
        return found if self._all_read() else None

    def _all_read(self) -> bool:
        return self._opened.whole and len(self._readable) == len(self._opened.numbers)

    def hold_input(
        self, totals: Mapping[str, Any], tallies: list[Tally], spans: Sequence[Span]
    ) -> None:
        """What of the input is neither in the export nor a failure was dropped, and counted."""
        self._hold_limit(totals, tallies, spans)
        missing = sum(one.missing for one in tallies)
        extra = sum(one.extra for one in tallies)
        kept = ("written", "failed")
        dropped = totals.get("read", 0) - sum(totals.get(name, 0) for name in kept)
        if missing != dropped:
            some = sorted(name for one in tallies for name in one.some_missing)[:5]
            self._add_manifest(
                f"{missing} samples of the input are neither in the export nor in its failures "
                f"({', '.join(map(repr, some))}), and it says that {dropped} were dropped",
                _INPUT,
            )
        if extra:
            some = sorted(name for one in tallies for name in one.some_extra)[:5]
            self._add_manifest(
                f"{extra} samples of the export are not in the input "
                f"({', '.join(map(repr, some))})",
                _INPUT,
            )

    def _hold_limit(
        self, totals: Mapping[str, Any], tallies: list[Tally], spans: Sequence[Span]
    ) -> None:
        """Where nothing but the limit has left samples out, all others come before them."""
        if any(totals.get(name) for name in ("filtered", "duplicate")) or not spans:
            return
        first = min((one.first_missing for one in tallies if one.first_missing), default="")
        if first and first < max(span.last for span in spans):
            self._add_manifest(
                "samples of the input that --limit left out come before some that are here", _INPUT
            )

    def _add_shard(self, number: int, problem: str) -> None:
        self.faults.add(self._opened.names.parquet(number), problem, remedy=REWRITE)

    def _add_manifest(self, problem: str, remedy: str | None = None) -> None:
        self.faults.add(self._opened.names.manifest, problem, remedy=remedy)


def _columns(described: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Returns columns with one name for what is in lists: Arrow's is `item`, and Parquet's not."""
    return [
        {**one, "type": str(one.get("type")).replace("list<item: ", "list<element: ")}
        for one in described
    ]
