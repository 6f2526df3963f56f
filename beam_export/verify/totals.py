"""Checks all shards together: sums, one schema, ranks, failures, and samples of the input."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from beam_export.errors import RunError
from beam_export.shards.manifest import Totals
from beam_export.text import quantity
from beam_export.verify.against_input import KeySpan, check_order_of_shards
from beam_export.verify.alike import AllMembers
from beam_export.verify.dataset import Opened
from beam_export.verify.findings import RESTORE, REWRITE, Fault, Faults, Findings, in_order
from beam_export.verify.notes import notes_on_members
from beam_export.verify.shard import CheckedShard
from beam_export.verify.splits import check_sums, first_shards
from beam_export.verify.unique_names import UnmatchedCounts

__all__ = ["check_dataset", "collect_findings"]

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
#: Names that a declared schema may give to what is in lists and in maps, in the text of a type.
_IN_LIST = re.compile(r"list<[^<>:]+: ")
_IN_MAP = re.compile(r" \('[^']*'\)(?=[,>])")
_INPUT = "give the input that was exported, as it was, or export again"


def collect_findings(
    opened: Opened,
    shards: Sequence[CheckedShard],
    faults: Iterable[Fault],
    *,
    unmatched: Sequence[UnmatchedCounts] | None,
    spans: Sequence[KeySpan],
    codecs: Iterable[str],
    decode: bool,
    reencode: bool,
) -> Findings:
    """Returns all findings about a dataset: those of its parts, and of all shards together.

    Args:
        opened: what was read before the shards.
        shards: all that were read, in any order.
        faults: of shards and of names.
        unmatched: ids without a counterpart, per bucket; None without `--against`.
        spans: smallest and largest order key per shard; empty without `--against`.
        codecs: those here that are not of the export's versions, in words.
        decode: whether images were decoded.
        reencode: whether the input's images could be encoded again.
    """
    found = list(faults)
    last = check_dataset(
        opened=opened, shards=shards, unmatched=unmatched, spans=spans, sound=not found
    )
    columns = [shard.columns for shard in shards if shard.columns is not None]
    unchecked = _unchecked(
        opened,
        sorted(set(codecs)),
        against=unmatched is not None,
        decode=decode,
        reencode=reencode,
    )
    return Findings(
        shards=len(shards),
        samples=sum(one["samples"] for one in columns),
        bytes=sum(one["bytes"] + one["parquet_bytes"] for one in columns),
        faults=in_order([*opened.faults, *found, *last]),
        unchecked=list(unchecked),
        notes=[*notes_on_members(shards, AllMembers.of(shards, opened.options))],
    )


def _unchecked(
    opened: Opened, codecs: Sequence[str], *, against: bool, decode: bool, reencode: bool
) -> Iterator[str]:
    """Yields what could not be checked, or was not asked for and is easily thought to be."""
    if not opened.whole:
        yield "sums over the dataset: shards are missing"
    encoded = opened.manifest["totals"].get("encoded") if opened.manifest is not None else 0
    if not against or not encoded:
        return
    images = quantity(encoded, "encoded image is", "encoded images are")
    what = f"whether the {images} what the input's become"
    if codecs:
        yield f"{what}: the codecs of this machine are not the export's ({'; '.join(codecs)})"
    elif not decode:
        yield f"{what}: --decode beside --against encodes them again"
    elif not reencode:
        yield f"{what}: what encoded them is not on this machine"


def check_dataset(
    opened: Opened,
    shards: Sequence[CheckedShard],
    unmatched: Iterable[UnmatchedCounts] | None = None,
    spans: Sequence[KeySpan] = (),
    *,
    sound: bool = True,
) -> list[Fault]:
    """Returns the faults of the dataset as a whole.

    Args:
        opened, shards, unmatched, spans: as of `collect_findings`.
        sound: whether its parts have none.
    """
    checks = _DatasetChecks(opened, sorted(shards, key=lambda shard: shard.number))
    checks.check_schemas()
    checks.check_ranks()
    checks.check_failures()
    checks.check_members()
    if opened.manifest is not None:
        checks.check_layout(opened.manifest["options"])
        checks.check_totals(opened.manifest)
        checks.check_splits(opened.manifest)
        # What is wrong with members themselves is no fault of the step.
        if sound and not checks.faults.all():
            checks.check_step(opened.manifest)
        if unmatched is not None:
            checks.check_input(opened.manifest["totals"], list(unmatched), spans)
    order = check_order_of_shards(
        spans, opened.names, first_shards(opened.manifest, opened.numbers)
    )
    return in_order([*checks.faults.all(), *order])


class _DatasetChecks:
    """Checks of all shards together; their faults are gathered in `faults`."""

    def __init__(self, opened: Opened, shards: list[CheckedShard]) -> None:
        self._opened, self._shards = opened, shards
        self._readable = [shard for shard in shards if shard.columns is not None]
        self.faults = Faults(RESTORE)

    def check_schemas(self) -> None:
        """Checks that all shards have one schema, the manifest's."""
        counts = collections.Counter(shard.schema for shard in self._readable)
        if not counts:
            return
        # The most common is taken for right; among equals the digest decides, each run alike.
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

    def check_ranks(self) -> None:
        """Checks that ranks in members' names go on from shard to shard."""
        manifest = self._opened.manifest
        if manifest is None or manifest["options"].get("member_names") != "sequential":
            return
        last = ""
        for shard in self._readable:
            # Above and not next: failures leave gaps in the ranks (format.md, `--member_names`).
            if (len(shard.first), shard.first) <= (len(last), last):
                self.faults.add(
                    file=self._opened.names.tar(shard.number),
                    problem="its first rank is not above the last one of the shard before",
                    member=shard.first,
                    remedy=REWRITE,
                )
            last = shard.last

    def check_layout(self, options: Mapping[str, Any]) -> None:
        """Checks that every shard but each split's last was planned with `--images_per_tar`."""
        most = options.get("images_per_tar")
        if type(most) is not int:
            self._add_manifest("its options do not have images_per_tar")
            return
        # Shards that are cut by size may close earlier.
        exact = options.get("max_tar_bytes") is None and self._opened.whole
        starts = first_shards(self._opened.manifest, self._opened.numbers)
        for shard in self._readable:
            # A sample that failed while its shard was written leaves it short (decision 6).
            planned = (shard.columns or {})["samples"] + len(shard.failures)
            last = shard.number == self._opened.numbers[-1] or shard.number + 1 in starts
            if planned > most or (exact and not last and planned != most):
                self._add_shard(
                    shard.number, f"it holds or lists {planned} samples, and should {most}"
                )

    def check_splits(self, manifest: Mapping[str, Any]) -> None:
        """Checks the manifest's splits: their shards, sums and names, and the samples planned."""
        rows = self._opened.shards
        if rows is None:
            return
        for problem in check_sums(manifest, rows):
            self._add_manifest(problem)

    def check_failures(self) -> None:
        """Checks that the failures of the shards are in the table, and counts the others."""
        if self._opened.lost_failures:
            return
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
        # `+` leaves out what fell below zero: that was reported above.
        before = (+listed).total()
        steps: list[dict[str, Any]] = manifest["steps"]
        # Failures of reading the sources, and those found by a probe.
        stated = sum(one.get("failed", 0) for one in steps if one.get("step") in ("read", "probe"))
        if stated != before:
            self.faults.add(
                names.failures,
                f"{before} of its failures are of no shard, and the manifest says {stated}",
            )

    def check_members(self) -> None:
        """Checks that samples have the same members, if the export has seen to that."""
        members = AllMembers.of(self._shards, self._opened.options)
        for shard in self._readable:
            if shard.json_member != members.json:
                self._add_shard(shard.number, "its member of --json_columns has another name")
        if odd := members.odd_one():
            number, ident, problem = odd
            file = self._opened.names.tar(number)
            self.faults.add(file=file, problem=problem, member=ident, remedy=REWRITE)

    def check_step(self, manifest: Mapping[str, Any]) -> None:
        """Checks the manifest's step about members; of a damaged shard it cannot be judged."""
        steps = {str(one.get("step")): one for one in manifest["steps"]}
        members = AllMembers.of(self._shards, self._opened.options)
        for problem in members.step_problems(steps) if self._all_read() else ():
            self._add_manifest(problem)

    def check_totals(self, manifest: Mapping[str, Any]) -> None:
        """Checks that the manifest's sums are those of the shards, and agree with each other."""
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
        if totals.failed != len(self._opened.failures) and not self._opened.lost_failures:
            self._add_manifest(
                f"it says that {quantity(totals.failed, 'sample')} failed, and the failures table "
                f"has {quantity(len(self._opened.failures), 'row')}"
            )
        rows = self._rows()
        if rows is None:
            return
        if totals.shards != len(rows):
            self._add_manifest(
                f"it says {quantity(totals.shards, 'shard')}, and there are {len(rows)}"
            )
        for total, column in _SUMS.items():
            found = sum(row[column] or 0 for row in rows)
            if found != getattr(totals, total):
                self._add_manifest(
                    f"its total {total} is {getattr(totals, total)}, and the shards have {found}"
                )

    def _rows(self) -> list[Mapping[str, Any]] | None:
        """Returns the rows to sum up; None if some are missing.

        Each shard was compared with its row in the table, so one fault is not reported twice.
        """
        if self._opened.shards is not None:
            return list(self._opened.shards.values())
        found = [shard.columns for shard in self._readable if shard.columns is not None]
        return found if self._all_read() else None

    def _all_read(self) -> bool:
        return self._opened.whole and len(self._readable) == len(self._opened.numbers)

    def check_input(
        self, totals: Mapping[str, Any], unmatched: list[UnmatchedCounts], spans: Sequence[KeySpan]
    ) -> None:
        """Checks that each sample of the input is written, failed, or counted as dropped."""
        self._check_limit(totals, unmatched, spans)
        missing = sum(one.missing for one in unmatched)
        extra = sum(one.extra for one in unmatched)
        kept = ("written", "failed")
        # Numbers alone: no file of an export says which samples were left out.
        dropped = totals.get("read", 0) - sum(totals.get(name, 0) for name in kept)
        if missing != dropped:
            some = sorted(name for one in unmatched for name in one.some_missing)[:5]
            self._add_manifest(
                f"of the input, {quantity(missing, 'sample is', 'samples are')} neither in the "
                f"export nor in its failures ({', '.join(map(repr, some))}), and it says that "
                f"{dropped} {'was' if dropped == 1 else 'were'} dropped",
                _INPUT,
            )
        if extra:
            some = sorted(name for one in unmatched for name in one.some_extra)[:5]
            self._add_manifest(
                f"of the export, {quantity(extra, 'sample is', 'samples are')} not in the input "
                f"({', '.join(map(repr, some))})",
                _INPUT,
            )

    def _check_limit(
        self, totals: Mapping[str, Any], unmatched: list[UnmatchedCounts], spans: Sequence[KeySpan]
    ) -> None:
        """Checks that what only `--limit` has left out comes after all that was written."""
        # What filters and duplicates leave out is missing too, and may stand anywhere in the order.
        if any(totals.get(name) for name in ("filtered", "duplicate")) or not spans:
            return
        first = min((one.first_missing for one in unmatched if one.first_missing), default="")
        if first and first < max(span.last for span in spans):
            self._add_manifest(
                "samples of the input that --limit left out come before some that are here", _INPUT
            )

    def _add_shard(self, number: int, problem: str) -> None:
        self.faults.add(self._opened.names.parquet(number), problem, remedy=REWRITE)

    def _add_manifest(self, problem: str, remedy: str | None = None) -> None:
        self.faults.add(self._opened.names.manifest, problem, remedy=remedy)


def _columns(described: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Returns columns with Arrow's own names for what is in lists and maps: Parquet has others."""
    return [
        {**one, "type": _IN_MAP.sub("", _IN_LIST.sub("list<item: ", str(one.get("type"))))}
        for one in described
    ]
