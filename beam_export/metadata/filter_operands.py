"""Columns as a filter takes them: of types that DuckDB knows, with null in place of NaN."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

__all__ = ["operand"]


def operand(array: pa.Array) -> pa.Array:
    """Returns the column with NaN as null, in lists and structs too.

    DuckDB holds NaN for the largest number, which no one who writes `score >= 0.5` means. What it
    has no type for becomes what is nearest; dictionaries, which differ from block to block, become
    their values.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return operand(array.storage)
    if pat.is_dictionary(kind):
        return operand(array.dictionary_decode())
    if pat.is_run_end_encoded(kind):
        return operand(pc.run_end_decode(array))
    if pat.is_float16(kind):
        return operand(pc.cast(array, pa.float32()))
    if pat.is_decimal256(kind):
        return operand(pc.cast(array, pa.float64()))
    if pat.is_floating(kind):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, kind), array)
    if _is_plain(kind):
        return array
    if array.offset:
        # Children know nothing of where a slice begins.
        array = pc.take(array, pa.array(range(len(array)), pa.int64()))
    return _rebuild(array, array.is_null())


def _is_plain(kind: pa.DataType) -> bool:
    """Tells whether a type has no children that are changed."""
    if not pat.is_nested(kind):
        return not (
            pat.is_floating(kind)
            or pat.is_decimal256(kind)
            or pat.is_dictionary(kind)
            or pat.is_run_end_encoded(kind)
            or isinstance(kind, pa.BaseExtensionType)
        )
    return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))


def _rebuild(array: pa.Array, missing: pa.Array) -> pa.Array:
    kind = array.type
    if pat.is_map(kind):
        # Its keys are never null: where one is NaN, that is what it is called.
        return pa.MapArray.from_arrays(
            array.offsets, array.keys, operand(array.items), mask=missing
        )
    if pat.is_list(kind):
        return pa.ListArray.from_arrays(array.offsets, operand(array.values), mask=missing)
    if pat.is_large_list(kind):
        return pa.LargeListArray.from_arrays(array.offsets, operand(array.values), mask=missing)
    if pat.is_fixed_size_list(kind):
        values = array.values.slice(0, len(array) * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(operand(values), kind.list_size, mask=missing)
    if pat.is_struct(kind):
        children = [operand(array.field(place)) for place in range(kind.num_fields)]
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, names, mask=missing)
    return array
