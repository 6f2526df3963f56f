"""Makes sample refs of the rows of tables, and measures the images in columns of Parquet."""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from beam_export.errors import InputError, SampleError
from beam_export.images.header import sniff
from beam_export.metadata.arrow_types import is_text
from beam_export.samples import UNMEASURED, WHOLE, Failure, Member, SampleRef
from beam_export.sources.entries import (
    IMAGE_SUFFIXES,
    Source,
    broken_source,
    split,
    unreadable_source,
)
from beam_export.sources.tables.base64_images import decode_bytes, decode_column, no_base64
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.parquet import ParquetTable, rows_of
from beam_export.sources.tables.roles import Roles, roles_of_table
from beam_export.storage.home import expand_home
from beam_export.storage.uris import is_local, unpin
from beam_export.text import printable, stored

__all__ = [
    "MeasuredImage",
    "TablePlace",
    "broken_table",
    "bytes_of_images",
    "declared_columns",
    "group_refs",
    "measure_rows",
    "metadata_schema",
    "row_id",
    "row_ref",
    "unfit",
    "with_measured_size",
]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
#: Bytes of an image that its format is recognised by.
_HEAD = 32


class TablePlace(NamedTuple):
    """A table: its path relative to the root, its URI, and its order key."""

    relative: str
    uri: str
    order: bytes


def table_place(source: Source) -> TablePlace:
    """Returns the place of a table that was listed."""
    return TablePlace(source.relative, source.uri, source.order)


class MeasuredImage(NamedTuple):
    """The size in bytes of an image in a column, None if the row has none, and its format.

    Attributes:
        size: None if there is none.
        ext: the format; empty if it is not known.
        other: whether the row has text that is none.
    """

    size: int | None
    ext: str
    other: bool = False


def metadata_schema(schema: pa.Schema, roles: Roles) -> pa.Schema:
    """Returns the columns that become metadata: all but those with a role.

    An id that is no text stays, as its type would be lost.
    """
    left_out = {roles.image, roles.path}
    if roles.id and is_text(schema.field(roles.id).type):
        left_out.add(roles.id)
    kept = [field for field in schema if field.name not in left_out]
    return pa.schema(kept, schema.metadata)


def group_refs(
    table: ParquetTable,
    group: int,
    roles: Roles,
    place: TablePlace,
    no_ids: Callable[[int], None] = lambda _: None,
) -> Iterator[list[SampleRef | Failure]]:
    """Yields the samples of a row group, in order.

    The bytes of images are not read: their number, and whether there are any, is found by
    `measure_rows`, for the samples that selections leave.

    Args:
        table: the file.
        group: number of the row group.
        roles: of its columns.
        place: of the file.
        no_ids: gets how many samples of a batch have nothing in the column of ids.

    Raises:
        TableError: if the row group is damaged.
    """
    typed = tuple(metadata_schema(table.schema, roles).names)
    columns = [name for name in table.schema.names if name != roles.image]
    paths = _paths(table, group, roles)
    for first, batch in table.batches(group, columns):
        # Rows first: a path more would be drawn, and lost, at the end of each batch.
        rows = list(zip(enumerate(rows_of(batch), first), paths, strict=False))
        if roles.id and not roles.status:
            no_ids(sum(row[roles.id] in (None, "") for (_, row), _ in rows))
        yield [
            _failed(row, roles, place)
            or _ref(
                row,
                number,
                group=group,
                roles=roles,
                place=place,
                beside=path,
                typed=typed,
            )
            for (number, row), path in rows
        ]


def _paths(table: ParquetTable, group: int, roles: Roles) -> Iterator[str | None]:
    """Yields the paths beside the bytes of images, which Hugging Face's structs have."""
    kind = table.schema.field(roles.image).type if roles.image else pa.null()
    if not (pat.is_struct(kind) and kind.get_field_index("path") >= 0):
        yield from itertools.repeat(None)
    for path in table.leaf(group, roles.image, "path"):
        yield path if isinstance(path, str) and path else None


def declared_columns(table: ParquetTable, source: Source) -> tuple[Roles, pa.Schema]:
    """Returns the roles and the metadata columns of a Parquet file of samples, with their types.

    Raises:
        InputError: if no column of it can hold images or paths.
    """
    try:
        roles = roles_of_table(table)
    except TableError as error:
        raise unfit(source, error) from error
    return roles, metadata_schema(table.schema, roles)


def unfit(source: Source, error: TableError) -> InputError:
    """Returns the error of a table that no column of holds images or paths."""
    return InputError(f"the table {printable(source.path)} {error}.")


def broken_table(name: str, uri: str, error: TableError | OSError) -> Failure:
    """Returns the failure of a table that cannot be read to its end, or has been replaced.

    Args:
        name: of the table: the `image_id` of the failure.
        uri: of the table, pinned or not.
        error: that was raised.

    Raises:
        OSError: `error` itself, if the table may be readable at another time.
    """
    path = unpin(uri)[0]
    if isinstance(error, OSError):
        return unreadable_source(name, path, what="the table", error=error)
    return broken_source(name, path, f"the table {error}")


def bytes_of_images(column: pa.Array) -> pa.Array:
    """Returns the bytes of a column of images, null where there are none."""
    column = _contents(column)
    if is_text(column.type):
        return decode_column(column)
    # One type for what follows, whatever kind of bytes the column has; null has none at all.
    return decode_bytes(column.cast(pa.large_binary()))


def _contents(column: pa.Array) -> pa.Array:
    """Returns the field of a column of images that holds them: of a struct, its `bytes`."""
    return pc.struct_field(column, "bytes") if pat.is_struct(column.type) else column


def measure_rows(
    table: ParquetTable, group: int, column: str, wanted: Iterable[int]
) -> Iterator[tuple[int, MeasuredImage]]:
    """Yields rows of a row group, in order, with the size and format of their images.

    The column is read up to the last of the rows, a few megabytes at a time, as nothing else in a
    Parquet file states the length of each image; no more than that is held.

    Args:
        table: the file.
        group: number of the row group.
        column: of images.
        wanted: numbers of rows in the file, which lie in that row group.

    Raises:
        TableError: if the row group is damaged, or too short.
    """
    left = sorted(wanted, reverse=True)
    start = left[-1] - table.groups[group].first if left else 0
    for first, batch in table.batches(group, [column], start):
        end = first + batch.num_rows
        rows = []
        while left and left[-1] < end:
            rows.append(left.pop())
        if rows:
            given = _contents(batch.column(0).take([row - first for row in rows]))
            data = bytes_of_images(given)
            texts = given.to_pylist() if is_text(given.type) else itertools.repeat("")
            sizes = pc.binary_length(data).to_pylist()
            heads = pc.binary_slice(data, 0, _HEAD).to_pylist()
            for row, size, head, text in zip(rows, sizes, heads, texts, strict=False):
                other = size is None and bool(text)
                yield row, MeasuredImage(size, sniff(head or b"") or "", other)
        if not left:
            return


def with_measured_size(ref: SampleRef, found: MeasuredImage) -> SampleRef:
    """Returns the ref of a row with its image's size; still `UNMEASURED` if a file has the image.

    Raises:
        SampleError: if it has none.
    """
    image, row_path = ref.image, f"{unpin(ref.image.uri)[0]}#{ref.image.offset}"
    if found.size is not None:
        given = "" if ref.path == row_path else ref.path
        # Content before names: a column that is called `jpg` may hold PNG.
        ext = found.ext or _ext(given) or _named(image.column or "")
        return ref._replace(image=image._replace(ext=ext, size=found.size), size=found.size)
    if found.other:
        raise SampleError("list", "ValueError", no_base64(image.column or ""))
    if ref.path == row_path:
        raise SampleError("list", "ValueError", "its row has no image")
    where = resolve(ref.path, image.uri)
    return ref._replace(path=where, image=Member(split(where)[1], where, WHOLE, UNMEASURED))


def _named(column: str) -> str:
    return column.lower() if column.lower() in IMAGE_SUFFIXES else ""


def _ext(path: str) -> str:
    suffix = split(path)[1]
    return suffix if suffix in IMAGE_SUFFIXES else ""


def _failed(row: Mapping[str, Any], roles: Roles, place: TablePlace) -> Failure | None:
    """Returns the failure that a row of img2dataset states, None if it states none."""
    # Where no status is stated, measuring shows whether there is an image.
    if not roles.status or row[roles.status] in ("success", None):
        return None
    path = row.get("url") or unpin(place.uri)[0]
    error, message = row[roles.status], row["error_message"] or ""
    return Failure(
        image_id=str(row[roles.id]),
        original_path=stored(path),
        stage="list",
        error=str(error),
        message=str(message).strip(),
    )


def row_ref(
    row: Mapping[str, Any],
    number: int,
    roles: Roles,
    place: TablePlace,
    beside: str | None = None,
) -> SampleRef | Failure:
    """Returns the sample of a row of a table of text; its size is `UNMEASURED`.

    Args:
        row: its values, by column.
        number: of the row in the table.
        roles: of its columns.
        place: of the table.
        beside: the path that stands beside the image's bytes, if one does.
    """
    return _ref(row, number, group=0, roles=roles, place=place, beside=beside)


def _ref(
    row: Mapping[str, Any],
    number: int,
    group: int,
    roles: Roles,
    place: TablePlace,
    beside: str | None,
    typed: tuple[str, ...] = (),
) -> SampleRef | Failure:
    path = beside or (_path_in(row.get(roles.path)) if roles.path else None)
    ident = stored(
        row_id(row.get(roles.id) if roles.id else None, path=path, number=number, place=place)
    )
    row_path = f"{unpin(place.uri)[0]}#{number}"
    if roles.image:
        member = Member("", place.uri, number, UNMEASURED, column=roles.image, group=group)
    elif path:
        where = resolve(path, place.uri)
        path, member = where, Member(split(where)[1], where, WHOLE, UNMEASURED)
    else:
        value = row.get(roles.path)
        empty = value is None or value == "" or isinstance(value, Mapping)
        reason = (
            f"its row has no {roles.path!r}"
            if empty
            else f"its {roles.path!r} is of type {type(value).__name__}, and no path"
        )
        return Failure(
            image_id=ident,
            original_path=stored(row_path),
            stage="list",
            error="ValueError",
            message=reason,
        )
    return SampleRef(
        # Big-endian: the bytes sort as the numbers do.
        order=place.order + number.to_bytes(8, "big"),
        id=ident,
        path=path or row_path,
        image=member,
        fields=(),
        metadata=_metadata(row, roles),
        size=UNMEASURED,
        typed=typed,
    )


def _path_in(value: Any) -> str | None:
    """Returns the path that a value holds: text, or Hugging Face's mapping with a path."""
    if isinstance(value, Mapping):
        value = value.get("path")
    return value if isinstance(value, str) and value else None


def row_id(value: Any, path: str | None, number: int, place: TablePlace) -> str:
    """Returns the id of a row: that in its column of ids, else its path, else its number."""
    # A bool is an int to Python. 0 is an id too, so truth does not decide.
    if isinstance(value, int | str) and not isinstance(value, bool) and value != "":
        return str(value)
    if path:
        stem, suffix = split(_plain(path))
        return stem if suffix in IMAGE_SUFFIXES and stem else _plain(path)
    return f"{split(place.relative)[0]}-{number}"


def _plain(path: str) -> str:
    """Returns a relative path without `./`, `../` and doubled `/`: it names a sample, not a place.

    >>> _plain("./a//0.jpg"), _plain("../f/0.jpg"), _plain("a/../b/0.jpg"), _plain("/in/../0.jpg")
    ('a/0.jpg', 'f/0.jpg', 'b/0.jpg', '/in/../0.jpg')
    """
    if path.startswith("/") or _SCHEME.match(path) or ("./" not in path and "//" not in path):
        return path
    parts = posixpath.normpath(path).split("/")
    return "/".join(part for part in parts if part != "..")


def _metadata(row: Mapping[str, Any], roles: Roles) -> dict[str, Any]:
    metadata = {name: value for name, value in row.items() if name not in (roles.path, roles.image)}
    # A number stays, as in `metadata_schema`: an id is text, and its type would be lost.
    if roles.id and isinstance(metadata.get(roles.id, ""), str | None):
        metadata.pop(roles.id, None)
    return metadata


def resolve(path: str, table: str) -> str:
    """Returns the full path of a path in a table: a relative one is below the table's directory.

    >>> resolve("a/1.jpg", "gs://b/t.csv")
    'gs://b/a/1.jpg'
    """
    if path.startswith("file://"):
        return path.removeprefix("file://")
    if path.startswith("/") or _SCHEME.match(path):
        return path
    folder = table[: table.rfind("/") + 1]
    if path.startswith("~/") and is_local(table) and not os.path.lexists(folder + path):
        return expand_home(path)
    return folder + posixpath.normpath(path) if not path.startswith("../") else folder + path
