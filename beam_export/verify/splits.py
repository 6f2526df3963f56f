"""Checks splits (`--split`): the rows of each by the rule, and what the manifest says of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from beam_export.errors import InputError
from beam_export.metadata.schema import output_name
from beam_export.metadata.split_rule import SplitRule, first_folder, parse_split
from beam_export.naming import split_key
from beam_export.shards.parquet import ShardRow

__all__ = ["SplitCheck", "check_of", "check_sums", "first_shards", "stated_splits"]

#: What the manifest says of a split, and of which type.
_FIELDS = {
    "name": str,
    "key": str,
    "first_shard": int,
    "shards": int,
    "samples": int,
    "bytes": int,
}
#: Ids that `--duplicates=rename` may have given.
_NUMBERED = re.compile(r"(.+)-[1-9][0-9]*", re.DOTALL)


class SplitCheck(NamedTuple):
    """What rows are held against.

    Attributes:
        rule: of `--split`.
        names: the split that the manifest has each shard in, by its number.
        renamed: whether the export has renamed duplicate ids, which went by others to their split.
    """

    rule: SplitRule
    names: Mapping[int, str]
    renamed: bool = False

    def problems(self, row: ShardRow, shard: int) -> Iterator[str]:
        """Yields what is wrong with the split of a row."""
        split = row.metadata.get("split")
        stated = self.names.get(shard)
        if stated is not None and split != stated:
            yield f"its split is {split!r}, and the manifest has its shard in {stated!r}"
        wanted = list(self._wanted(row))
        if wanted and split not in wanted:
            yield f"its split is {split!r}, and --split={self.rule.text} makes it {wanted[0]!r}"

    def _wanted(self, row: ShardRow) -> Iterator[Any]:
        """Yields the split that a row should be in, or several that it may be in."""
        if self.rule.folder:
            yield first_folder(row.image_id)
        elif self.rule.column is not None:
            yield _value(row.metadata, self.rule.column)
        # What was escaped for the Parquet had another id when its split was found.
        elif "\\" not in row.image_id:
            yield self.rule.names[self.rule.number_of(row.image_id)]
            found = _NUMBERED.fullmatch(row.image_id) if self.renamed else None
            if found:
                yield self.rule.names[self.rule.number_of(found[1])]


def _value(metadata: Mapping[str, Any], column: str) -> Any:
    name = "input_split" if column == "split" else column
    return metadata.get(name if name in metadata else output_name(name))


def check_of(manifest: Mapping[str, Any] | None) -> SplitCheck | None:
    """Returns what rows are held against; None for an export without splits."""
    rule = _rule_of(manifest)
    if manifest is None or rule is None:
        return None
    names: dict[int, str] = {}
    for one in stated_splits(manifest) or ():
        # Bounded: a damaged count must not fill the memory.
        for number in itertools.islice(range(one["first_shard"], 10**7), one["shards"]):
            names[number] = one["name"]
    return SplitCheck(rule, names, manifest["options"].get("duplicates") == "rename")


def _rule_of(manifest: Mapping[str, Any] | None) -> SplitRule | None:
    given = None if manifest is None else manifest["options"].get("split")
    try:
        return parse_split(given) if isinstance(given, str) else None
    except InputError:
        return None


def stated_splits(manifest: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Returns the splits that a manifest states; None if they have not the form of splits."""
    splits = manifest.get("splits", [])
    if not isinstance(splits, list):
        return None
    for one in splits:
        # `type` and not `isinstance`: JSON's true is an int to Python, and no count.
        if (
            not isinstance(one, dict)
            or {name: type(value) for name, value in one.items()} != _FIELDS
        ):
            return None
        if any(one[name] < 0 for name in ("first_shard", "shards", "samples", "bytes")):
            return None
    return splits


def first_shards(manifest: Mapping[str, Any] | None, numbers: Iterable[int]) -> frozenset[int]:
    """Returns the numbers of the shards that splits begin with; 0 alone without splits.

    Where a damaged manifest leaves them unknown, any may: nothing that is sound is a fault then.

    Args:
        manifest: its content, if there is any.
        numbers: of all shards.
    """
    if manifest is None or manifest["options"].get("split") is None:
        return frozenset({0})
    stated = stated_splits(manifest)
    return frozenset([one["first_shard"] for one in stated or () if one["shards"]] or numbers)


def check_sums(manifest: Mapping[str, Any], rows: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """Yields what is wrong with the splits that a manifest states.

    Args:
        manifest: its content.
        rows: of the table of shards, by number.
    """
    asked = manifest["options"].get("split")
    stated = stated_splits(manifest)
    if stated is None or bool(stated) != (asked is not None):
        yield "its splits are missing, not asked for, or of another form"
        return
    if not stated:
        return
    yield from _names_problems(manifest, [one["name"] for one in stated])
    planned = _planned(manifest)
    following = 0
    for one in stated:
        if one["key"] != split_key(one["name"]):
            yield f"the key of its split {one['name']!r} is not the one of that name"
        if one["first_shard"] != following:
            yield f"its split {one['name']!r} does not begin where the one before ends"
            return
        following += one["shards"]
        held = [rows[at] for at in range(one["first_shard"], following) if at in rows]
        yield from _sums_problems(one, held, planned.get(one["name"]))
    if following != len(rows):
        yield f"its splits have {following} shards, and there are {len(rows)}"


def _names_problems(manifest: Mapping[str, Any], names: list[str]) -> Iterator[str]:
    rule = _rule_of(manifest)
    if rule is None:
        yield "its option split is no rule of splits"
    elif names != (list(rule.names) if rule.fractions else sorted(set(names))):
        yield f"its splits are not those of --split={rule.text}, in their order"


def _planned(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns how many samples were planned for each split."""
    for step in manifest["steps"]:
        samples = step.get("samples")
        if step.get("step") == "split" and isinstance(samples, dict):
            return samples
    return {}


def _sums_problems(
    stated: Mapping[str, Any], held: list[Mapping[str, Any]], planned: Any
) -> Iterator[str]:
    for name in ("samples", "bytes"):
        found = sum(row[name] or 0 for row in held)
        if stated[name] != found:
            yield (
                f"{name} of its split {stated['name']!r} is {stated[name]}, and its shards have "
                f"{found}"
            )
    tried = sum((row["samples"] or 0) + (row["failed"] or 0) for row in held)
    if planned != tried:
        yield (
            f"its step 'split' has {planned} samples of {stated['name']!r}, and its shards hold or "
            f"list {tried}"
        )
