"""Says of which type the arrays in `.npy` members are, by a remark on each sample that has one.

Hugging Face's `datasets` reads such a member as nested lists, whose type the card has to state.
Only the bytes say it, and a shard that a later run keeps is not read again: so its Parquet carries
the remarks (`writer.REMARKS`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy_format

__all__ = ["ArrayType", "array_remark", "array_types", "has_arrays", "is_array_remark"]

_MARK = "array/"
#: What `datasets` and Arrow have a type for, beside text.
_DTYPES = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
}
#: The most dimensions that NumPy has: what says more is no array.
_MOST_DIMENSIONS = 64


class ArrayType(NamedTuple):
    """The type of the arrays of one member.

    Attributes:
        dtype: of their elements, as `datasets` names it.
        dimensions: how many they have.
    """

    dtype: str
    dimensions: int


def has_arrays(ext: str) -> bool:
    """Returns whether a member is an array, by its extension.

    >>> has_arrays("npy"), has_arrays("clip.npy"), has_arrays("npy.txt")
    (True, True, False)
    """
    return ext.rpartition(".")[2] == "npy"


def array_remark(ext: str, data: bytes) -> str:
    """Returns the remark on a member that is an array.

    >>> file = io.BytesIO()
    >>> np.save(file, np.zeros((2, 3), np.float32))
    >>> array_remark("clip.npy", file.getvalue())
    'array/clip.npy=float32,2'
    """
    found = _header(data)
    return f"{_MARK}{ext}={'?' if found is None else f'{found.dtype},{found.dimensions}'}"


def _header(data: bytes) -> ArrayType | None:
    """Returns the type of an array by the header of its file; None if there is no name for it."""
    file = io.BytesIO(data)
    try:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0
        if version != (1, 0):
            read = npy_format.read_array_header_2_0
        shape, _, dtype = read(file)
    # What damaged bytes make of NumPy's reader, which evaluates a literal.
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError):
        return None
    name = "string" if dtype.kind == "U" else dtype.name
    if (name not in _DTYPES and name != "string") or len(shape) > _MOST_DIMENSIONS:
        return None
    return ArrayType(name, len(shape))


def is_array_remark(remark: str) -> bool:
    """Returns whether a remark names the type of an array, and is nothing to be counted."""
    return remark.startswith(_MARK)


def array_types(remarks: Iterable[str]) -> dict[str, ArrayType | None]:
    """Returns the type that all arrays of a member fit, by extension; None where there is none.

    >>> array_types(["array/a.npy=float32,1", "array/a.npy=float64,1", "damaged"])
    {'a.npy': ArrayType(dtype='float64', dimensions=1)}
    """
    found: dict[str, set[str]] = {}
    for remark in filter(is_array_remark, remarks):
        ext, _, words = remark.removeprefix(_MARK).partition("=")
        found.setdefault(ext, set()).add(words)
    return {ext: _common(words) for ext, words in sorted(found.items())}


def _common(words: set[str]) -> ArrayType | None:
    if "?" in words:
        return None
    parts = [one.split(",") for one in sorted(words)]
    dtypes = {dtype for dtype, _ in parts}
    if len({dimensions for _, dimensions in parts}) > 1:
        return None
    dimensions = int(parts[0][1])
    if len(dtypes) == 1:
        return ArrayType(dtypes.pop(), dimensions)
    # Text and numbers, or truth values and numbers, have no type in common.
    if not dtypes.isdisjoint({"string", "bool"}):
        return None
    common = np.result_type(*sorted(dtypes))
    return ArrayType(common.name, dimensions)
