"""Joins images with the rows of their folders' tables, bucket by bucket (`--metadata=auto`).

Rows name images by path, and nothing about them is an error: what does not match, or is there
already, is counted.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Set
from typing import Any, NamedTuple

from beam_export.metadata.schema import ColumnTypes, output_name
from beam_export.planning.blocks import PackedRef, open_block, pack_block, unpack_ref, with_change
from beam_export.planning.join import Tally
from beam_export.planning.join_keys import normal
from beam_export.sources.tables.folder_tables import FolderRow

__all__ = [
    "UnfitColumns",
    "bucket_of_path",
    "columns_in",
    "join_folder_bucket",
    "unfit_columns",
    "without_unfit",
]


class UnfitColumns(NamedTuple):
    """Columns of such tables that no export can have, and are left out.

    Attributes:
        reasons: by name, what is wrong with it and what to do.
        all: why every column is left out; empty if not.
    """

    reasons: dict[str, str]
    all: str = ""


def bucket_of_path(path: str, buckets: int) -> int:
    """Returns the bucket of an image's path; paths that are equal in normal form share one."""
    name = normal(path).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % buckets


def columns_in(block: bytes) -> frozenset[str]:
    """Returns the names of the metadata that the samples of a block have."""
    return frozenset(
        name for packed in open_block(block).refs() for name in unpack_ref(packed).metadata
    )


def join_folder_bucket(
    refs: Iterable[PackedRef],
    rows: Iterable[FolderRow],
    own: Set[str],
    types: ColumnTypes | None = None,
) -> tuple[list[PackedRef], Tally]:
    """Returns the samples of a bucket with the columns of their rows, and what matched.

    Args:
        refs: the bucket's samples.
        rows: the bucket's rows; of several for one image, the nearest folder's first one counts.
        own: names of columns that samples of the input have already, which stay as they are.
        types: gets what the values show that are joined, unless their table declares it.
    """
    tally = Tally()
    samples = [(packed, unpack_ref(packed)) for packed in refs]
    paths = {ref.path for _, ref in samples}
    exact: dict[str, FolderRow] = {}
    forms: dict[str, FolderRow] = {}
    unused: set[FolderRow] = set()
    for row in sorted(rows, key=lambda row: row.place):
        unused.add(row)
        exact.setdefault(row.path, row)
        if row.path not in paths:
            # Else it is that image's, and of none in another form of Unicode.
            forms.setdefault(normal(row.path), row)
    tally.add("folder_rows", len(unused))
    joined: list[PackedRef] = []
    alone: list[str] = []
    shared: set[str] = set()
    named: set[str] = set()
    for packed, ref in samples:
        found = exact.get(ref.path) or forms.get(normal(ref.path))
        if found is None:
            alone.append(ref.id)
            joined.append(packed)
            continue
        unused.discard(found)
        named.add(normal(ref.path))
        values: dict[str, Any] = pickle.loads(found.values)
        shared.update(values.keys() & own)
        new = {name: value for name, value in values.items() if name not in own}
        typed = tuple(name for name in found.typed if name not in own)
        if types is not None and not typed:
            types.add(new, f"row {found.place[1] + 1} of {found.table}")
        metadata = {**ref.metadata, **new}
        joined.append(
            with_change(packed, ref._replace(metadata=metadata, typed=(*ref.typed, *typed)))
        )
    tally.add("folder_samples_matched", len(joined) - len(alone))
    tally.note("folder_samples_unmatched", alone)
    tally.note("folder_shared", shared)
    again = {row for row in unused if normal(row.path) in named}
    tally.note("folder_rows_again", [row.shown for row in again])
    tally.note("folder_rows_unmatched", [row.shown for row in unused - again])
    return joined, tally


def unfit_columns(types: ColumnTypes, own: Set[str]) -> UnfitColumns:
    """Returns the columns that are left out of what is joined, with the reasons.

    Args:
        types: of all columns that are joined.
        own: names of columns that samples of the input have already.
    """
    found = types.unfit()
    if found is None:
        reason = (
            "the tables of the folders have too many different columns, as where keys are data: "
            "--drop_columns says which are left out, and the others are joined then"
        )
        return UnfitColumns({}, reason)
    reasons = {
        name: (
            f"the column {name!r} {reason}, and was left out: --text_columns={name} keeps it as "
            "JSON text"
        )
        for name, reason in found.items()
    }
    names = types.names | own
    for name in types.names:
        stored = output_name(name)
        twins = {one for one in names - {name} if output_name(one) == stored}
        if twins & own or (twins and stored != name):
            reasons[name] = (
                f"the column {name!r} would be stored as {stored!r}, and so would {min(twins)!r}: "
                "it was left out"
            )
    return UnfitColumns(reasons)


def without_unfit(block: bytes, unfit: UnfitColumns, own: Set[str]) -> bytes:
    """Returns a block of samples that were joined without the columns that are left out.

    Args:
        block: packed refs.
        unfit: what is left out.
        own: names of columns that samples had before, which stay.
    """
    if not unfit.reasons and not unfit.all:
        return block
    return pack_block([_without(packed, unfit, own) for packed in open_block(block).refs()])


def _without(packed: PackedRef, unfit: UnfitColumns, own: Set[str]) -> PackedRef:
    ref = unpack_ref(packed)
    left = {
        name: value
        for name, value in ref.metadata.items()
        if name in own or not (unfit.all or name in unfit.reasons)
    }
    typed = tuple(name for name in ref.typed if name in left)
    return with_change(packed, ref._replace(metadata=left, typed=typed))
