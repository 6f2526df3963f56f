"""Compares an export with its input (`--against`): columns, members, stored images, and order.

A row and the sample it was made of meet by their id (`unique_names`), where neither has the other's
bytes. So each brings digests, short ones, as there are as many as images.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from beam_export.metadata import canonical
from beam_export.metadata.columns import ColumnChoice
from beam_export.metadata.schema import output_name
from beam_export.metadata.to_arrow import ColumnBuilder
from beam_export.naming import ShardNames
from beam_export.packing import pack
from beam_export.shards.parquet import stored_values
from beam_export.verify.findings import Fault, Faults
from beam_export.verify.members import MISFIT, Origin, fitted, renamed_of

__all__ = [
    "ColumnDigests",
    "KeySpan",
    "PlacedKey",
    "Rules",
    "SampleDigests",
    "check_order_in_shard",
    "check_order_of_shards",
    "differences",
    "image_digest",
    "members_of",
    "other_codecs",
    "pack_placed_keys",
    "rules_of",
]

#: 48 bits: rows and samples meet by id, so that a digest only has to differ from one other.
_DIGITS = 12
#: In place of a digest: the input has no such column; it has a value that the column cannot hold.
_NOTHING, _OTHER = " " * _DIGITS, "?" * _DIGITS
_ORDER_REMEDY = (
    "give the input as it was exported, its parts in the same order; else delete the shard's two "
    "files and run the same export again"
)


class SampleDigests(NamedTuple):
    """Digests that a row and a sample of the input are compared by.

    Attributes:
        order: hex, the order key of a sample of the input; empty for a row.
        shard, row: the place of a row; -1 for a sample of the input.
        image: `image_digest` of the image as stored; of a sample of the input, as it was encoded
            again, and empty if it was not.
        members: `members_of` of the other members.
        columns: digests of the columns, 12 characters each, in the order of `Rules.columns`.
    """

    order: str = ""
    shard: int = -1
    row: int = -1
    image: str = ""
    members: str = ""
    columns: str = ""


class Rules(NamedTuple):
    """The rules by which rows of an export are compared with its input.

    Attributes:
        columns: names of the columns that come from the input, if a sample has them.
        joined: whether columns come from a table too.
        made: extensions of members that the export has made.
        more: extensions of members that the export may have added where samples lack them.
        remade: whether members that an earlier export made of columns were made anew.
        fewer: whether the export may have left members out.
        ordered: whether samples stand in the order of their keys.
        choice: columns that were left out, or made text.
        taken: names of columns that the export has made, so that those of the input have others.
    """

    columns: tuple[str, ...] = ()
    joined: bool = False
    made: frozenset[str] = frozenset()
    more: frozenset[str] = frozenset()
    remade: bool = False
    fewer: bool = False
    ordered: bool = True
    choice: ColumnChoice = ColumnChoice()
    taken: frozenset[str] = frozenset()


def rules_of(manifest: Mapping[str, Any] | None, columns: Iterable[str], origin: Origin) -> Rules:
    """Returns how an export with these metadata columns can be compared with its input."""
    if manifest is None:
        return Rules(ordered=False)
    options: Mapping[str, Any] = manifest["options"]
    # By `get`: manifests lack options that are at their default.
    steps = {str(step.get("step")): step for step in manifest["steps"]}
    json_member = str(steps.get("members", {}).get("json", "json"))
    made = {"caption_column": "txt", "labels": "cls", "json_columns": json_member}
    asked = {ext for name, ext in made.items() if options.get(name)}
    return Rules(
        columns=tuple(name for name in columns if name not in origin.others),
        choice=origin.choice,
        joined=any(step.get("step") == "join" for step in manifest["steps"]),
        made=frozenset(asked),
        more=frozenset(["txt", "json"] if options.get("ragged_fields") == "fill" else ()),
        remade=bool(options.get("json_columns")),
        fewer=options.get("ragged_fields") == "drop",
        taken=origin.others,
    )


def members_of(members: Iterable[tuple[str, str]]) -> str:
    """Returns `SampleDigests.members` of (extension, hex SHA-256).

    >>> members_of([("txt", "0123456789abcdef"), ("json", "fedcba9876543210")])
    'json:fedcba987654,txt:0123456789ab'
    """
    return ",".join(f"{ext}:{sha256[:_DIGITS]}" for ext, sha256 in sorted(members))


def image_digest(sha256: str, encoding: str, width: int | None, height: int | None) -> str:
    """Returns `SampleDigests.image` of an image and what its row says of it.

    >>> image_digest("0123", "copied", 640, 480)
    '0123 copied, 640 x 480'
    """
    return f"{sha256} {encoding}, {width} x {height}"


class ColumnDigests:
    """Makes digests of the values of columns, of rows and of samples of the input.

    Args:
        columns: the metadata columns of the export.
        rules: which of them are compared.
    """

    def __init__(self, columns: pa.Schema, rules: Rules) -> None:
        self._names, self._taken, self._choice = rules.columns, rules.taken, rules.choice
        fields = [columns.field(name).with_nullable(True) for name in rules.columns]
        self._builders = [ColumnBuilder(field) for field in fields]

    def of_row(self, metadata: Mapping[str, Any]) -> str:
        """Returns `SampleDigests.columns` of a row."""
        return "".join(_digest(metadata[name]) for name in self._names)

    def of_input(self, metadata: Sequence[Mapping[str, Any]]) -> list[str]:
        """Returns `SampleDigests.columns` of samples of the input."""
        metadata = [renamed_of(self._choice.of_metadata(one), self._taken) for one in metadata]
        columns = []
        for name, builder in zip(self._names, self._builders, strict=True):
            values = fitted(builder, stored_values(metadata, name))
            # An input's `width` is the export's `input_width`, which has a `width` of its own.
            plain = name.removeprefix("input_")
            plain = plain if output_name(plain) == name else name
            columns.append(
                [
                    _digest(value) if name in one or plain in one else _NOTHING
                    for value, one in zip(values, metadata, strict=True)
                ]
            )
        return ["".join(row) for row in zip(*columns, strict=True)] or [""] * len(metadata)


def _digest(value: Any) -> str:
    if value is MISFIT:
        return _OTHER
    try:
        return hashlib.sha256(canonical.encode(value)).hexdigest()[:_DIGITS]
    except TypeError:  # of a type that no input of ours has
        return _OTHER


def differences(
    row: SampleDigests, given: SampleDigests, rules: Rules
) -> Iterator[tuple[str, bool]]:
    """Yields the differences between a row and the sample of the input that it was made of.

    Returns:
        (problem in words, whether the tar is at fault and not the Parquet) of each.
    """
    nothing = _digest(None)
    for at, name in enumerate(rules.columns):
        stored, wanted = (one.columns[at * _DIGITS : (at + 1) * _DIGITS] for one in (row, given))
        if wanted == _NOTHING:
            # The table is not read again: what the input lacks may be from there.
            wanted = stored if rules.joined else nothing
        if stored != wanted:
            yield f"column {name!r} is not what the input has", False
    found, wanted_members = _opened(row.members), _opened(given.members)
    # What the export has made itself is nothing that the input could confirm.
    for ext in sorted({*found, *wanted_members} - rules.made):
        if ext not in wanted_members and ext in rules.more:
            continue
        if ext not in wanted_members:
            yield f"it has a member .{ext}, and the input's sample has none", True
        elif ext not in found and not rules.fewer:
            yield f"it lacks the member .{ext}, which the input's sample has", True
        elif ext in found and found[ext] != wanted_members[ext]:
            yield f"its .{ext} is not the one that the input has", True
    if given.image and row.image != given.image:
        if row.image.split(" ")[0] != given.image.split(" ")[0]:
            yield "its image is not what the input's becomes when it is encoded again", True
        else:
            yield (
                f"its image is {given.image.partition(' ')[2]!r}, and the row says otherwise",
                False,
            )


def _opened(members: str) -> dict[str, str]:
    pairs = (one.rpartition(":") for one in members.split(",") if one)
    return {ext: digest for ext, _, digest in pairs}


class PlacedKey(NamedTuple):
    """The order key of a sample of the input, with the place of its row.

    Attributes:
        shard, row: its place.
        key: hex, the order key that its place follows from.
        id: its id in the export.
    """

    shard: int
    row: int
    key: str
    id: str


class KeySpan(NamedTuple):
    """The smallest and the largest order key of a shard."""

    shard: int
    first: str
    last: str


def check_order_in_shard(
    keys: Iterable[PlacedKey], names: ShardNames
) -> tuple[KeySpan, list[Fault]]:
    """Returns the span of the keys of one shard, at least one, and a fault per row out of place."""
    placed = sorted(keys)
    faults = Faults(_ORDER_REMEDY)
    ordered = sorted(placed, key=lambda placed: placed.key)
    for found, wanted in zip(placed, ordered, strict=True):
        if found.key != wanted.key:
            faults.add(
                names.parquet(found.shard), "it does not stand where the order has it", found.id
            )
    return KeySpan(placed[0].shard, ordered[0].key, ordered[-1].key), faults.all()


def pack_placed_keys(keys: Iterable[PlacedKey], rules: Rules | None) -> Iterator[tuple[int, bytes]]:
    """Yields (shard, packed list of its keys); nothing where the order is not to be checked."""
    if rules is None or not rules.ordered:
        return
    shards: dict[int, list[PlacedKey]] = collections.defaultdict(list)
    for placed in keys:
        shards[placed.shard].append(placed)
    for shard, items in shards.items():
        yield shard, pack(items)


def other_codecs(found: Mapping[str, str], stated: Mapping[str, str]) -> str:
    """Returns the codecs whose versions are not those that the export was made with, in words.

    >>> other_codecs({"pillow": "11.1", "libjpeg": "3.0"}, {"pillow": "11.0", "libjpeg": "3.0"})
    'pillow 11.1, not 11.0'
    """
    other = [name for name in sorted(found) if found[name] != stated.get(name)]
    return ", ".join(f"{name} {found[name]}, not {stated.get(name)}" for name in other)


def check_order_of_shards(
    spans: Iterable[KeySpan], names: ShardNames, starts: Collection[int] = ()
) -> list[Fault]:
    """Returns a fault per shard that has samples which belong before the end of an earlier one.

    Args:
        spans: of the shards' keys.
        names: of the dataset's files.
        starts: the first shards of splits, within which samples are in order.
    """
    faults = Faults(_ORDER_REMEDY)
    last = ""
    for span in sorted(spans):
        if span.shard in starts:
            last = ""
        if span.first <= last:
            faults.add(
                names.parquet(span.shard),
                "it has samples that come before some of an earlier shard, by the order",
            )
        # The largest so far: a shard out of place must not excuse those behind it.
        last = max(last, span.last)
    return faults.all()
