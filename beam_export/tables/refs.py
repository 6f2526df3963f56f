"""From rows to refs: where each row's image lies, what it is called, and all else it knows."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from beam_export.arrow_types import is_text
from beam_export.encoders.header import sniff
from beam_export.pairing import IMAGE_SUFFIXES, split
from beam_export.samples import WHOLE, Failure, Member, SampleRef
from beam_export.tables.parquet import ParquetTable, rows_of
from beam_export.tables.roles import Roles
from beam_export.text import printable
from beam_export.uris import unpin

__all__ = ["UNMEASURED", "Place", "bytes_of_images", "group_refs", "metadata_schema", "row_ref"]

#: `SampleRef.size` of an image whose file has not been looked at.
UNMEASURED = -1
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
#: Enough of an image to tell its format by.
_HEAD = 32


class Place(NamedTuple):
    """A table: its path relative to the root, where it lies, and its order key."""

    relative: str
    uri: str
    order: bytes


class _Image(NamedTuple):
    """What is known of an image in a column, without its bytes."""

    size: int | None
    ext: str
    path: str | None


def metadata_schema(schema: pa.Schema, roles: Roles) -> pa.Schema:
    """Returns the columns that become metadata: all but those with a role.

    An id that is no text stays, as its type would be lost.
    """
    left_out = {roles.image, roles.path}
    if roles.id and is_text(schema.field(roles.id).type):
        left_out.add(roles.id)
    return pa.schema([field for field in schema if field.name not in left_out])


def group_refs(
    table: ParquetTable, group: int, roles: Roles, place: Place
) -> Iterator[list[SampleRef | Failure]]:
    """Yields the samples of a row group, in order.

    The bytes of images are read once, a few megabytes at a time, as nothing else in a Parquet
    file tells how long each is; no more than that is held of them.

    Raises:
        TableError: if the row group is damaged.
    """
    typed = tuple(metadata_schema(table.schema, roles).names)
    for first, batch in table.batches(group):
        images: list[_Image | None] = [None] * batch.num_rows
        if roles.image:
            at = batch.schema.get_field_index(roles.image)
            images = list(_look(batch.column(at), roles.image))
            batch = batch.remove_column(at)
        rows = enumerate(zip(rows_of(batch), images, strict=True), first)
        yield [
            _failed(row, roles, place) or _ref(row, number, roles, place, image, typed)
            for number, (row, image) in rows
        ]


def bytes_of_images(column: pa.Array) -> pa.Array:
    """Returns the bytes of a column of images, null where there are none."""
    if pat.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    return column.cast(pa.large_binary())


def _look(column: pa.Array, name: str) -> Iterator[_Image]:
    data = bytes_of_images(column)
    sizes = pc.binary_length(data).to_pylist()
    heads = pc.binary_slice(data, 0, _HEAD).to_pylist()
    paths: list[Any] = [None] * len(sizes)
    if pat.is_struct(column.type) and column.type.get_field_index("path") >= 0:
        paths = pc.struct_field(column, "path").to_pylist()
    for size, head, path in zip(sizes, heads, paths, strict=True):
        text = path if isinstance(path, str) and path else None
        yield _Image(size, sniff(head or b"") or _ext(text or "") or _named(name), text)


def _named(column: str) -> str:
    return column.lower() if column.lower() in IMAGE_SUFFIXES else ""


def _ext(path: str) -> str:
    suffix = split(path)[1]
    return suffix if suffix in IMAGE_SUFFIXES else ""


def _failed(row: Mapping[str, Any], roles: Roles, place: Place) -> Failure | None:
    """Returns the failure that a row of img2dataset tells of, if it does."""
    if not roles.status or row[roles.status] in ("success", None):
        return None
    path = row.get("url") or unpin(place.uri)[0]
    error, message = row[roles.status], row["error_message"] or ""
    return Failure(str(row[roles.id]), printable(path), "list", str(error), str(message).strip())


def row_ref(row: Mapping[str, Any], number: int, roles: Roles, place: Place) -> SampleRef | Failure:
    """Returns the sample of a row that names its image's path; its size is `UNMEASURED`."""
    return _ref(row, number, roles, place, None)


def _ref(
    row: Mapping[str, Any],
    number: int,
    roles: Roles,
    place: Place,
    image: _Image | None,
    typed: tuple[str, ...] = (),
) -> SampleRef | Failure:
    given = _path_in(row.get(roles.path)) if roles.path else None
    path = (image.path if image else None) or given
    ident = printable(_id(row.get(roles.id) if roles.id else None, path, number, place))
    here = f"{unpin(place.uri)[0]}#{number}"
    if image is not None and image.size is not None:
        member = Member(image.ext, place.uri, number, image.size, column=roles.image)
    elif path:
        where = resolve(path, place.uri)
        path, member = where, Member(split(where)[1], where, WHOLE, UNMEASURED)
    else:
        reason = "its row has no image" if roles.image else f"its row has no {roles.path!r}"
        return Failure(ident, printable(here), "list", "ValueError", reason)
    return SampleRef(
        order=place.order + number.to_bytes(8, "big"),
        id=ident,
        path=path or here,
        image=member,
        fields=(),
        metadata=_metadata(row, roles),
        size=member.size,
        typed=typed,
    )


def _path_in(value: Any) -> str | None:
    """Returns the path that a value holds: text, or Hugging Face's mapping with a path."""
    if isinstance(value, Mapping):
        value = value.get("path")
    return value if isinstance(value, str) and value else None


def _id(value: Any, path: str | None, number: int, place: Place) -> str:
    if isinstance(value, int | str) and not isinstance(value, bool) and value != "":
        return str(value)
    if path:
        stem, suffix = split(path)
        return stem if suffix in IMAGE_SUFFIXES and stem else path
    return f"{split(place.relative)[0]}-{number}"


def _metadata(row: Mapping[str, Any], roles: Roles) -> dict[str, Any]:
    metadata = {name: value for name, value in row.items() if name != roles.path}
    if roles.id and isinstance(metadata.get(roles.id, ""), str | None):
        metadata.pop(roles.id, None)
    return metadata


def resolve(path: str, table: str) -> str:
    """Returns where a path lies that a table names: relative ones are below the table's folder.

    >>> resolve("a/1.jpg", "gs://b/t.csv")
    'gs://b/a/1.jpg'
    """
    if path.startswith("file://"):
        return path.removeprefix("file://")
    if path.startswith("/") or _SCHEME.match(path):
        return path
    folder = table[: table.rfind("/") + 1]
    return folder + posixpath.normpath(path) if not path.startswith("../") else folder + path
