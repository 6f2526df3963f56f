"""SampleFilter: applies the filter and the caption column to blocks of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from beam_export.errors import InputError
from beam_export.metadata.arrow_types import is_text
from beam_export.metadata.columns import ColumnChoice
from beam_export.metadata.filter import FACTS, Filter, describe_columns
from beam_export.metadata.schema import output_name
from beam_export.metadata.to_arrow import ColumnBuilder
from beam_export.planning.blocks import (
    PackedRef,
    open_block,
    pack_block,
    unpack_ref,
    with_change,
)
from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.text import printable, stored

__all__ = ["SampleFilter", "check_asked", "choose_columns"]


class SampleFilter:
    """Keeps the samples that a filter keeps, and gives them captions.

    Args:
        schema: metadata columns of the whole dataset.
        filter: as `--filter`.
        caption: name of the column with the captions.

    Raises:
        InputError: if the filter or the caption's column does not fit those.
    """

    def __init__(self, schema: pa.Schema, filter: str | None, caption: str | None) -> None:
        self._fields = {field.name: field for field in schema}
        types = {name: field.type for name, field in self._fields.items()}
        self._filter = Filter(filter).bind({**FACTS, **types}) if filter is not None else None
        self._caption = caption
        if caption is not None:
            _check_caption(caption, types)

    def apply(self, refs: Sequence[PackedRef]) -> list[PackedRef]:
        """Returns what is kept of `refs`, with captions.

        Raises:
            InputError: if the filter fails on a value, or a caption has no place.
        """
        if not refs:
            return []
        opened = [unpack_ref(ref) for ref in refs]
        pairs = list(zip(refs, opened, strict=True))
        if self._filter is not None:
            columns = {name: self._column(name, opened) for name in self._filter.types}
            kept = self._filter.keep(columns, len(opened))
            pairs = [pair for pair, keep in zip(pairs, kept, strict=True) if keep]
        if self._caption is None:
            return [packed for packed, _ in pairs]
        return [self._captioned(packed, ref) for packed, ref in pairs]

    def _column(self, name: str, refs: Sequence[SampleRef]) -> pa.Array:
        field = self._fields.get(name)
        if field is None:
            return pa.array([_fact(ref, name) for ref in refs], FACTS[name])
        try:
            return ColumnBuilder(field.with_nullable(True)).build(
                [_value(ref, name) for ref in refs], [ref.id for ref in refs]
            )
        except ValueError as error:
            raise InputError(f"{error}.") from error

    def _captioned(self, packed: PackedRef, ref: SampleRef) -> PackedRef:
        if any(field.ext == "txt" for field in ref.fields):
            raise InputError(
                f"--caption_column={self._caption} would be the .txt of sample {ref.id!r} "
                f"({printable(ref.path)}), which has one: leave --caption_column out, or take the "
                "samples' .txt away."
            )
        # An empty one where there is no caption, so that all samples have the same members.
        data = stored(str(_value(ref, self._caption or "") or "")).encode()
        fields = sorted((*ref.fields, Member("txt", "", WHOLE, len(data), data)), key=_by_ext)
        return with_change(packed, ref._replace(fields=tuple(fields)))


def choose_columns(block: bytes, choice: ColumnChoice) -> tuple[bytes, frozenset[str]]:
    """Returns a block of refs with the columns that are left, and the names of those it had."""
    names: set[str] = set()
    chosen = pack_block(_with_columns(one, choice, names) for one in open_block(block).refs())
    return chosen, frozenset(names)


def _with_columns(packed: PackedRef, choice: ColumnChoice, names: set[str]) -> PackedRef:
    ref = unpack_ref(packed)
    if not ref.metadata:
        return packed
    names.update(ref.metadata)
    metadata = choice.of_metadata(ref.metadata)
    typed = tuple(name for name in ref.typed if name in metadata)
    return with_change(packed, ref._replace(metadata=metadata, typed=typed))


def check_asked(
    types: Mapping[str, pa.DataType | None], filter: str | None, caption: str | None
) -> None:
    """Checks that columns fit the filter and the caption.

    Args:
        types: of all metadata columns; None where a type is not known yet.
        filter: as the option.
        caption: name of the caption's column.

    Raises:
        InputError: if they do not.
    """
    if filter is not None:
        # What the samples say of themselves comes first: the table has it under that name.
        Filter(filter).check({**FACTS, **types})
    if caption is not None:
        _check_caption(caption, types)


def _by_ext(field: Member) -> str:
    return field.ext


def _check_caption(name: str, types: Mapping[str, pa.DataType | None]) -> None:
    if name not in types:
        shown = describe_columns(types)
        there = f"the metadata columns are {shown}" if shown else "no metadata columns are there"
        raise InputError(f"--caption_column={name}: there is no such column, {there}.")
    kind = types[name]
    if kind is None:
        return
    if pat.is_dictionary(kind):
        kind = kind.value_type
    if not is_text(kind):
        raise InputError(
            f"--caption_column={name} is of type {kind}: give the name of a column of text."
        )


def _value(ref: SampleRef, stored_name: str) -> Any:
    """Returns a value of the metadata by the name that its column has in the export."""
    if stored_name in ref.metadata:
        return ref.metadata[stored_name]
    # Refs have the names of the input; columns are renamed only as the Parquet is written.
    name = stored_name.removeprefix("input_")
    return ref.metadata.get(name) if output_name(name) == stored_name else None


def _fact(ref: SampleRef, name: str) -> Any:
    if name == "image_id":
        return ref.id
    if name == "size":
        return ref.size
    return getattr(ref.probed, name, None)
