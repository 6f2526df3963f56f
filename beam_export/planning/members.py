"""Decides which members all samples get: those of `--ragged_fields` and of `--json_columns`.

What one sample gets depends on what others have: whether `--ragged_fields=drop` leaves a member
out, how the member of `--json_columns` is called. So the members of all planned samples are added
up (`shards.member_sets`), and decided on once before anything is written.
"""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from beam_export.errors import InputError
from beam_export.metadata.columns import is_named, names_given, unnamed
from beam_export.metadata.filter import describe_columns
from beam_export.options import ExportOptions
from beam_export.planning.blocks import PackedRef, unpack_ref, with_change
from beam_export.planning.splits import names_of, split_of, with_split
from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.shards.json_member import JsonColumns
from beam_export.shards.member_sets import MemberSets, SetExample, describe_members
from beam_export.shards.tar import padded
from beam_export.text import cut

__all__ = [
    "MemberRules",
    "check_json_columns",
    "counted",
    "decide_members",
    "decides",
    "members_steps",
    "prepared",
    "prepares",
    "with_members",
]

#: What `--ragged_fields=fill` gives to samples that lack a member, by extension.
_EMPTY = {"txt": b"", "json": b"{}"}
#: Names of the member of `--json_columns`, of which the second is taken where samples bring one.
_OURS, _BESIDE_THEIRS = "json", "meta.json"
#: Samples whose members are made at once.
_AT_ONCE = 500
#: Members of a sample that a message names.
_SHOWN = 8

_T = TypeVar("_T")


class MemberRules(NamedTuple):
    """What becomes of the members of all samples.

    Attributes:
        json: extension of the member of `--json_columns`; empty without.
        columns: names of the columns in it.
        keep: extensions that are left; None for all.
        dropped: (extension, how many samples have it) of members that are left out, as far as they
            were counted.
        fill: (extension, how many samples lack it) of members that are added where they lack.
    """

    json: str = ""
    columns: tuple[str, ...] = ()
    keep: tuple[str, ...] | None = None
    dropped: tuple[tuple[str, int], ...] = ()
    fill: tuple[tuple[str, int], ...] = ()

    def pack(self) -> bytes:
        """Returns the rules as one value, for a side input."""
        return pickle.dumps(tuple(self), protocol=5)

    @classmethod
    def unpack(cls, packed: bytes | None) -> MemberRules:
        """Returns what `pack` packed; of None, the rules that change nothing."""
        return cls() if packed is None else cls(*pickle.loads(packed))

    def content(self) -> bytes:
        """Returns what shapes the bytes of a shard; b"" for rules that change nothing."""
        if self == MemberRules():
            return b""
        fill = [ext for ext, _ in self.fill]
        return json.dumps([self.json, self.columns, self.keep, fill]).encode()


def check_json_columns(
    given: str | None, types: Mapping[str, pa.DataType | None]
) -> tuple[str, ...]:
    """Returns the names of the columns that `--json_columns` names, in their order.

    Args:
        given: as the option.
        types: of all metadata columns by name; None where one is not known yet.

    Raises:
        InputError: if a column is not there, or there are none.
    """
    if given is None:
        return ()
    if not types:
        raise InputError(
            f"--json_columns={given} writes metadata columns, and the samples have none: leave it "
            "out, or give them some by --metadata."
        )
    names = names_given(given)
    unknown = unnamed(names, types)
    if unknown is not None:
        raise InputError(
            f"--json_columns={given} names a column {unknown!r} that is not there: the metadata "
            f"columns are {describe_columns(types)}; give some of those, or all alone for each."
        )
    return tuple(one for one in types if is_named(names, one))


def decide_members(sets: MemberSets, options: ExportOptions, columns: pa.Schema) -> MemberRules:
    """Returns what becomes of the members of all samples.

    Args:
        sets: members of all planned samples, as they came.
        options: of the export.
        columns: metadata columns of the dataset.

    Raises:
        InputError: if samples have unequal members and may not, or a member has no name.
    """
    types = {field.name: field.type for field in columns}
    names = check_json_columns(options.json_columns, types)
    rules = MemberRules(_json_name(sets) if names else "", names)
    if not sets.are_unequal or options.ragged_fields == "keep":
        return rules
    if options.ragged_fields == "error":
        raise InputError(_unequal(sets))
    partial = {ext: count for ext, count in sets.counts.items() if ext not in sets.common}
    if options.ragged_fields == "drop":
        return rules._replace(keep=tuple(sorted(sets.common)), dropped=tuple(partial.items()))
    others = {ext: count for ext, count in partial.items() if ext not in _EMPTY}
    if sets.crowded or others:
        lack = describe_members({} if sets.crowded else others, sets.samples)
        raise InputError(
            "--ragged_fields=fill makes .txt and .json where they lack, and other members lack "
            f"too ({lack}): give --ragged_fields=drop, which leaves out what not all samples have, "
            "or keep."
        )
    lacking = {ext: sets.samples - count for ext, count in partial.items()}
    return rules._replace(fill=tuple(lacking.items()))


def _json_name(sets: MemberSets) -> str:
    if _OURS not in sets.counts:
        return _OURS
    if _BESIDE_THEIRS in sets.counts:
        raise InputError(
            "--json_columns has no name for its member, since there are samples with a .json and "
            "samples with a .meta.json: leave it out, or rename one of the two."
        )
    return _BESIDE_THEIRS


def _unequal(sets: MemberSets) -> str:
    one, other = (f"{cut(example.id)!r} ({_listed(example)})" for example in sets.firsts)
    return (
        f"--ragged_fields=error, and samples {one} and {other} have unequal members: give them "
        "the same, or give keep, drop or fill."
    )


def _listed(example: SetExample) -> str:
    shown = ", ".join(f".{ext}" for ext in example.exts[:_SHOWN])
    return f"{shown}, ..." if len(example.exts) > _SHOWN else shown or "none"


def decides(options: ExportOptions) -> bool:
    """Returns whether members depend on those of other samples: else no rules are needed."""
    return options.json_columns is not None or options.ragged_fields != "keep"


def prepares(options: ExportOptions) -> bool:
    """Returns whether samples have to be made ready by `prepared` before they are planned."""
    fills = options.ragged_fields == "fill" and options.max_tar_bytes is not None
    return fills or options.json_columns is not None


def prepared(
    refs: Iterable[PackedRef],
    options: ExportOptions,
    columns: pa.Schema,
    splits: bytes | None = None,
) -> Iterator[PackedRef]:
    """Yields samples ready to be planned.

    The member that an earlier export has made of its columns is left out, since it is made anew.
    The new one is written only into the shard; where sizes matter (`--max_tar_bytes`) it is made
    here too, and its bytes count, as do those of all that `--ragged_fields=fill` may add.

    Args:
        refs: packed.
        options: of the export.
        columns: metadata columns of the dataset.
        splits: packed `Splits`, whose column is made in the shard too; None for none.

    Raises:
        InputError: if a column is not there, or a value does not fit its column.
    """
    types = {field.name: field.type for field in columns}
    names = check_json_columns(options.json_columns, types)
    made = JsonColumns([columns.field(name) for name in names])
    for batch in _batches(refs):
        opened = list(map(unpack_ref, batch))
        if names:
            batch, opened = _renewed(batch, opened)
        added = [0] * len(batch)
        if names and options.max_tar_bytes is not None:
            metadata = _as_written(batch, opened, splits)
            contents = made.of(metadata, [ref.id for ref in opened])
            added = [padded(len(data)) for data in contents]
        if options.ragged_fields == "fill":
            added = [size + _may_fill(ref) for size, ref in zip(added, opened, strict=True)]
        for packed, size in zip(batch, added, strict=True):
            yield packed._replace(weight=packed.weight + size)


def _renewed(
    packed: Sequence[PackedRef], opened: Sequence[SampleRef]
) -> tuple[list[PackedRef], list[SampleRef]]:
    """Returns refs, packed and opened, without the members that an earlier export has made."""
    left = [ref._replace(fields=_without_ours(ref)) for ref in opened]
    renewed = [
        one if ref.fields == new.fields else with_change(one, new)
        for one, ref, new in zip(packed, opened, left, strict=True)
    ]
    return renewed, left


def _as_written(
    packed: Sequence[PackedRef], opened: Sequence[SampleRef], splits: bytes | None
) -> list[Mapping[str, Any]]:
    """Returns the metadata of refs as their shard has it, with their split if there are any."""
    if splits is None:
        return [ref.metadata for ref in opened]
    names, number_of = names_of(splits), split_of(splits)
    pairs = zip(packed, opened, strict=True)
    return [with_split(ref.metadata, names[number_of(one)]) for one, ref in pairs]


def _may_fill(ref: SampleRef) -> int:
    """Returns the bytes in the tar of all that `--ragged_fields=fill` may add to a sample."""
    lacking = _EMPTY.keys() - {field.ext for field in ref.fields}
    return sum(padded(len(_EMPTY[ext])) for ext in lacking)


def _without_ours(ref: SampleRef) -> tuple[Member, ...]:
    ours = ref.earlier.json_member if ref.earlier is not None else ""
    return tuple([field for field in ref.fields if field.ext != ours])


def counted(
    keyed: Iterable[tuple[SampleRef, str]], sets: MemberSets
) -> Iterator[tuple[SampleRef, str]]:
    """Yields what is given, and adds the members of each sample to `sets`."""
    for ref, key in keyed:
        sets.add_sample(ref)
        yield ref, key


def with_members(
    keyed: Iterable[tuple[SampleRef, str]], rules: MemberRules, columns: pa.Schema
) -> Iterator[tuple[SampleRef, str]]:
    """Yields (ref with the members that it is to have, key in the tar).

    Args:
        keyed: (ref, key in the tar) of a shard.
        rules: decided over all samples.
        columns: metadata columns of the dataset.

    Raises:
        InputError: if a value does not fit its column.
    """
    if not rules.content():
        yield from keyed
        return
    made = JsonColumns([columns.field(name) for name in rules.columns])
    for batch in _batches(keyed):
        refs = [ref for ref, _ in batch]
        contents: Iterator[bytes | None] = itertools.repeat(None)
        if rules.json:
            contents = made.of([ref.metadata for ref in refs], [ref.id for ref in refs])
        for (ref, key), content in zip(batch, contents, strict=False):
            yield ref._replace(fields=_fields(ref, rules, content)), key


def _fields(ref: SampleRef, rules: MemberRules, content: bytes | None) -> tuple[Member, ...]:
    fields = {
        field.ext: field for field in ref.fields if rules.keep is None or field.ext in rules.keep
    }
    for ext, _ in rules.fill:
        if ext not in fields:
            fields[ext] = _made(ext, _EMPTY[ext])
    if content is not None:
        fields[rules.json] = _made(rules.json, content)
    return tuple(fields[ext] for ext in sorted(fields))


def _made(ext: str, data: bytes) -> Member:
    return Member(ext, "", WHOLE, len(data), data)


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(itertools.islice(rest, _AT_ONCE)):
        yield batch


def members_steps(sets: MemberSets, rules: MemberRules, ragged_fields: str) -> list[dict[str, Any]]:
    """Returns the step about members as the manifest has it; none where there is nothing to say.

    Args:
        sets: members of all samples that were written, as they came.
        rules: what was done about them.
        ragged_fields: as the option.
    """
    counts = sets.counts if rules.keep is None else dict.fromkeys(rules.keep, sets.samples)
    made = [ext for ext, _ in rules.fill] + [rules.json] * bool(rules.json)
    counts |= dict.fromkeys(made, sets.samples)
    unequal = sets.are_unequal and rules.keep is None and not rules.fill
    if not unequal and not rules.json and ragged_fields == "keep":
        return []
    step: dict[str, Any] = {
        "step": "members",
        "ragged_fields": ragged_fields,
        "samples": sets.samples,
        "members": counts,
        "unequal": unequal,
    }
    if rules.json:
        step |= {"json": rules.json, "json_columns": list(rules.columns)}
    if rules.keep is not None:
        step["dropped"] = _of_written(rules.dropped, sets, lacking=False)
    if rules.fill:
        step["filled"] = _of_written(rules.fill, sets, lacking=True)
    return [step]


def _of_written(
    planned: Sequence[tuple[str, int]], sets: MemberSets, *, lacking: bool
) -> dict[str, int]:
    """Returns how many of the samples that were written have, or lack, a member, by extension.

    Args:
        planned: how many of the planned ones do.
        sets: members of those that were written, as they came.
        lacking: whether those that lack it are counted.
    """
    if sets.crowded:
        return dict(planned)
    had = {ext: sets.counts.get(ext, 0) for ext, _ in planned}
    counts = {ext: sets.samples - count if lacking else count for ext, count in had.items()}
    return {ext: count for ext, count in counts.items() if count}
