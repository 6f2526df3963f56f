"""Makes totals and manifest of an export from the results of its shards, and checks the sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from beam_export._version import __version__
from beam_export.errors import RunError
from beam_export.images import codecs
from beam_export.naming import split_key
from beam_export.options import ExportOptions
from beam_export.planning.duplicates import Decisions
from beam_export.planning.join import Tally
from beam_export.planning.labels import class_names
from beam_export.planning.members import MemberRules, decides, members_steps
from beam_export.planning.plan import Plan
from beam_export.planning.steps import processing_steps
from beam_export.samples import SOURCE_CHANGED, Failure
from beam_export.shards.hub_features import HubMembers, hub_members
from beam_export.shards.manifest import (
    Manifest,
    SplitShards,
    Totals,
    describe_schema,
    has_damage,
    remarks,
    totals,
)
from beam_export.shards.member_sets import MemberSets
from beam_export.shards.reasons import describe_all, describe_failures, remedy_of
from beam_export.shards.writer import ShardResult
from beam_export.text import quantity

__all__ = ["Outcome", "check_outcome", "make_manifest", "name_devices"]

#: Failures of whole sources, whose samples nobody can count: of samples, no other stage has these.
_LOST_SOURCES = frozenset({("list", "BrokenSource"), ("list", SOURCE_CHANGED)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of all steps of an export, from which its manifest is made.

    Attributes:
        results: one per shard, by number.
        layout: the plan.
        decisions: on equal ids.
        counted: samples that came to planning.
        ranked: those of them that were ranked; of these, `--limit` may leave some out.
        source_failures: samples that their sources list and could not give.
        probe_failures: samples that failed under `--probe`.
        skipped: files that are no samples, counted by what they are.
        tally: what tables matched, and what was left out before planning.
        rules: what became of the members of samples.
    """

    results: Sequence[ShardResult]
    layout: Plan
    decisions: Decisions
    counted: int
    ranked: int
    source_failures: Sequence[Failure]
    probe_failures: Sequence[Failure]
    skipped: Mapping[str, int]
    tally: Tally
    rules: MemberRules

    @property
    def early(self) -> int:
        """How many samples failed before planning."""
        return len(self.source_failures) + len(self.probe_failures)

    @property
    def failures(self) -> list[Failure]:
        """All failures: of sources, of the probe, and of the shards as they were written."""
        write_failures = [one for result in self.results for one in result.failures]
        return [*self.source_failures, *self.probe_failures, *write_failures]

    def member_steps(self, ragged_fields: str) -> list[dict[str, Any]]:
        """Returns the step about members; none if there is nothing to say of them."""
        sets = MemberSets()
        for result in self.results:
            if result.members:
                sets.merge(MemberSets.unpack(result.members))
        return members_steps(sets, self.rules, ragged_fields)

    def hub_members(self, columns: pa.Schema) -> HubMembers | None:
        """Returns the members that samples have in the tars, with the types of the columns."""
        rules = self.rules
        made = [ext for ext, _ in rules.fill] + [rules.json] * bool(rules.json)
        return hub_members(self.results, keep=rules.keep, made=made, columns=columns)

    def totals(self) -> Totals:
        """Returns the sums over the dataset."""
        return totals(
            self.results,
            self.early,
            counted=self.counted,
            filtered=self.tally.dropped,
            duplicate=len(self.decisions.dropped),
            # Dropped duplicates have no rank, so that nothing is counted twice.
            limited=self.ranked - self.layout.total,
        )

    def splits(self) -> list[SplitShards]:
        """Returns the splits with what their shards hold, the empty ones too."""
        found = []
        for number, name in enumerate(self.layout.splits):
            shards = self.layout.shards_of(number)
            held = self.results[shards.start : shards.stop]
            found.append(
                SplitShards(
                    name=name,
                    key=split_key(name),
                    first_shard=shards.start,
                    shards=len(shards),
                    samples=sum(one.samples for one in held),
                    bytes=sum(one.bytes for one in held),
                )
            )
        return found


def check_outcome(
    outcome: Outcome, options: ExportOptions, list_all: Callable[[], str | None]
) -> None:
    """Makes sure that every source was read, that no shard is empty, and that few samples failed.

    Args:
        outcome: what the steps have found out and done.
        options: of the export: what they allow.
        list_all: writes the list of all failures, and returns its path; called before an error.

    Raises:
        RunError: if a source is broken and none may be, a shard has no image, or too many failed.
    """
    failures, most = outcome.failures, options.max_failed_fraction
    if not options.allow_broken_sources:
        _check_sources(failures, list_all)
    totals = outcome.totals()
    empty = [one for one in outcome.results if not one.samples]
    if empty and not totals.written:
        all_ = "the only image" if totals.failed == 1 else f"all {totals.failed:,} images"
        remedy = remedy_of(failures) or "mend them, or give another input"
        raise RunError(f"{all_} failed: {describe_all(failures, list_all())}: {remedy}.")
    if empty:
        few = not totals.exceeds(most)
        over = "" if few else f", more than --max_failed_fraction={most} allows"
        raise RunError(
            f"{_all_of(empty)} failed, and an empty shard is never written; of all "
            f"{quantity(totals.tried, 'image')} {totals.failed} failed{over}: "
            f"{describe_all(failures, list_all())}: {_remedy_of_empty(empty, few=few)}."
        )
    totals.check_budget(most, failures, list_all)


def _check_sources(failures: Sequence[Failure], list_all: Callable[[], str | None]) -> None:
    broken = [one for one in failures if (one.stage, one.error) in _LOST_SOURCES]
    if not broken:
        return
    others = [one for one in failures if (one.stage, one.error) not in _LOST_SOURCES]
    beside = f"; {len(others)} failed beside them, {describe_failures(others)}" if others else ""
    where = list_all()
    raise RunError(
        f"{quantity(len(broken), 'source')} cannot be read to the end: "
        f"{describe_failures(broken)}{beside}{f'; all are listed in {where}' if where else ''}: "
        "mend them, or give --allow_broken_sources to do without what they hold."
    )


def _all_of(empty: Sequence[ShardResult]) -> str:
    """Returns the words for all images of the shards of which none is left."""
    count = sum(len(one.failures) for one in empty)
    images = "the only image" if count == 1 else f"all {count:,} images"
    if len(empty) == 1:
        return f"{images} of shard {empty[0].number}"
    return f"{images} of {len(empty):,} shards (the first is shard {empty[0].number})"


def _remedy_of_empty(empty: Sequence[ShardResult], *, few: bool) -> str:
    """Returns what to do about empty shards beside others.

    Args:
        empty: those shards.
        few: whether no more samples failed than may.
    """
    lost = [failure for one in empty for failure in one.failures]
    probe = "give --probe=full, which leaves such images out before shards are planned"
    if not few:
        probe = f"mend them, or {probe}, and allow more"
    better = remedy_of(lost)
    if better is None:
        return probe
    return better if lost[0].error == SOURCE_CHANGED else f"{better}, or {probe}"


def name_devices(identity: Mapping[str, str], results: Sequence[ShardResult]) -> dict[str, str]:
    """Returns the encoder's identity with the devices of the workers that encoded.

    The step that asks may run where no GPU is. Workers with GPUs of several models are all named.
    """
    # Sorted: the manifest must not depend on which worker ended first.
    devices = sorted({result.device for result in results})
    return {**identity, "device": ", ".join(devices)}


def make_manifest(
    outcome: Outcome,
    options: ExportOptions,
    *,
    identity: Mapping[str, str],
    columns: pa.Schema,
    tables: Sequence[Mapping[str, str]],
    indexes: Sequence[Mapping[str, str]] = (),
) -> Manifest:
    """Returns the manifest of an export.

    Args:
        outcome: what the steps have found out and done.
        options: of the export.
        identity: of the encoder, with its devices (`name_devices`).
        columns: metadata columns of the dataset.
        tables: name and sha256 of the tables under `_meta`.
        indexes: name and sha256 of the indexes that the dataset has once.
    """
    sums = outcome.totals()
    return Manifest(
        hash=outcome.layout.hash,
        options=options.shaping(),
        software=_software(outcome.results, options, identity),
        steps=processing_steps(
            options,
            sums,
            outcome.tally,
            skipped=outcome.skipped,
            unread=len(outcome.source_failures),
            probed=len(outcome.probe_failures),
            renamed=len(outcome.decisions.renamed),
            remarks=remarks(outcome.results),
            classes=class_names(columns) if options.labels == "folder" else (),
            splits=outcome.layout.split_sizes(),
            # What is only seen is no step: manifests of before stay as they are.
            members=outcome.member_steps(options.ragged_fields) if decides(options) else (),
        ),
        schema=describe_schema(columns),
        totals=sums,
        tables=tables,
        splits=outcome.splits(),
        indexes=indexes,
    )


def _software(
    results: Sequence[ShardResult], options: ExportOptions, identity: Mapping[str, str]
) -> dict[str, str]:
    """Returns the versions of all that shapes bytes."""
    return {
        "beam_export": __version__,
        "pyarrow": pa.__version__,
        # Decides which samples there are, where it decides anything.
        **({"duckdb": version("duckdb")} if options.filter is not None else {}),
        **({"simplejpeg": version("simplejpeg")} if has_damage(results) else {}),
        **codecs.stated(remark for result in results for remark, _ in result.remarks),
        **identity,
    }
