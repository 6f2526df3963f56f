"""Makes sample refs of the rows of CSV and JSON lines, whose images may stand in them as text."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from beam_export.errors import SampleError
from beam_export.images.header import sniff
from beam_export.samples import Failure, Member, SampleRef, failure_of
from beam_export.sources.entries import Source
from beam_export.sources.tables.base64_images import image_of_text, is_image_text, no_base64
from beam_export.sources.tables.formats import BadRow, TableError
from beam_export.sources.tables.refs import (
    TablePlace,
    row_id,
    row_ref,
    table_place,
    unfit,
)
from beam_export.sources.tables.roles import Roles, id_of_names, may_be_images, roles_of_names
from beam_export.sources.tables.text import TextBlock, TextTypes, rows_of_text
from beam_export.storage.uris import unpin
from beam_export.text import printable, stored

__all__ = ["KeptImages", "check_paths", "no_ids", "roles_of_row", "text_refs", "without_ids"]


def check_paths(block: TextBlock, source: Source) -> Roles | None:
    """Makes sure that the first lines of a table of text have an image or a path to one.

    One row without is bad data; a table without any is a wrong table.

    Returns:
        The roles of the columns of the first row that has; None if no row can be read before it.

    Raises:
        InputError: if none has.
    """
    wrong: TableError | None = None
    # A CSV's header names the columns of all rows; each line of JSON names its own.
    header = [(0, dict.fromkeys(block.header))] if block.header else []
    rows: list[Any] = rows_of_text(block, TextTypes())
    for row in [*header, *rows]:
        if isinstance(row, BadRow):
            return None
        try:
            return roles_of_row(row[1])
        except TableError as error:
            wrong = wrong or error
    if wrong is not None:
        raise unfit(source, wrong)
    return None


def text_refs(
    block: TextBlock,
    types: TextTypes,
    source: Source,
    keep: Callable[[bytes], Member],
    no_id: Callable[[str], None],
    usual: Roles | None = None,
) -> Iterator[SampleRef | Failure]:
    """Yields the ref, or the failure, of each row of a block of lines.

    Args:
        block: lines of one file.
        types: of all CSV files of the input.
        source: the file.
        keep: keeps the bytes of an image that stands in the table, and returns where they lie.
        no_id: is called with a note on each row whose column of ids holds none, or what can be
            none.
        usual: the roles of columns at the start of the file (`check_paths`), for rows whose own say
            nothing; those of the first row of the block that say something by default.
    """
    place = table_place(source)
    rows = rows_of_text(block, types)
    names = (id_of_names(tuple(row[1])) for row in rows if not isinstance(row, BadRow))
    # A line of JSON without an id has no name for it either.
    meant = next(filter(None, names), "")
    usual = usual or _usual_roles(rows)
    for row in rows:
        found = _text_ref(row, place, usual=usual, keep=keep)
        if not isinstance(row, BadRow) and isinstance(found, SampleRef):
            _check_id(row[1], meant, source=source, no_id=no_id)
        yield found if isinstance(found, SampleRef) else _lost_row(row, found, place)


def _usual_roles(rows: Iterable[Any]) -> Roles | None:
    """Returns the roles of the columns of the first row that has an image or a path."""
    for row in rows:
        with contextlib.suppress(TableError):
            if not isinstance(row, BadRow):
                return roles_of_row(row[1])
    return None


def _text_ref(
    row: Any, place: TablePlace, usual: Roles | None, keep: Callable[[bytes], Member]
) -> SampleRef | Failure | TableError | BadRow:
    """Returns the ref of a row, or why it has none.

    Args:
        row: number and values, or what is wrong with it.
        place: of the table.
        usual: the roles of the columns of the rows beside it, for one whose columns say nothing, as
            where images are known by their content, and it has none.
        keep: keeps the bytes of an image.
    """
    if isinstance(row, BadRow):
        return row
    number, values = row
    try:
        roles = roles_of_row(values)
    except TableError as error:
        # Of several images in one row none is guessed.
        if usual is None or any(map(is_image_text, values.values())):
            return error
        roles = usual._replace(id=id_of_names(tuple(values)))
    value = values.get(roles.image)
    beside = value.get("path") if isinstance(value, Mapping) else None
    ref = row_ref(
        values,
        number,
        roles=roles,
        place=place,
        beside=beside if isinstance(beside, str) else None,
    )
    if not roles.image or not isinstance(ref, SampleRef):
        return ref
    data = _image_of(value)
    if not data:
        return failure_of(ref, SampleError("list", "ValueError", _no_image(value, roles.image)))
    return ref._replace(image=keep(data), size=len(data))


def roles_of_row(values: Mapping[str, Any]) -> Roles:
    """Returns the roles of a row's columns, by their names, and by what is plainly an image.

    Raises:
        TableError: if it has neither a path nor an image.
    """
    names = tuple(values)
    meant = may_be_images(names)
    plain = next((name for name in meant if _is_image(values[name])), "")
    if not plain:
        # As Hugging Face's structs in Parquet, under any name.
        plain = next((name for name in names if _is_plain_struct(values[name])), "")
    try:
        return roles_of_names(names, plain)
    except TableError:
        others = [name for name in names if is_image_text(values[name])]
        if len(others) != 1:
            raise
        return roles_of_names(names, others[0])


def _is_image(value: object) -> bool:
    """Returns whether a value under the name of an image is one, and no path."""
    if isinstance(value, Mapping):
        return value.get("bytes") not in (None, "")
    return is_image_text(value)


def _is_plain_struct(value: object) -> bool:
    return isinstance(value, Mapping) and is_image_text(value.get("bytes"))


def _image_of(value: object) -> bytes | None:
    """Returns the image that text or Hugging Face's `{bytes, path}` holds; None if there is none.

    Bytes may be base64, or a list of numbers.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if isinstance(value, list):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            return None
    return image_of_text(value) if isinstance(value, str) else None


def _no_image(value: object, column: str) -> str:
    """Returns what is said of a value in a column of images that is none."""
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if value in (None, "", []):
        return f"its {column!r} has no image"
    if isinstance(value, list):
        return f"its {column!r} has bytes that are no whole numbers from 0 to 255"
    return no_base64(column)


def _check_id(
    values: dict[str, Any], meant: str, source: Source, no_id: Callable[[str], None]
) -> None:
    """Notes a row whose column of ids holds none, or what can be none.

    Args:
        values: of the row, by column.
        meant: the column of ids of the rows beside it.
        source: the table.
        no_id: is called with the note.
    """
    name = id_of_names(tuple(values)) or meant
    value = values.get(name)
    if name and value in (None, ""):
        no_id(without_ids(source, name))
    elif not isinstance(value, int | str | None) or isinstance(value, bool):
        no_id(no_ids(source, name, type(value).__name__))


def without_ids(source: Source, name: str) -> str:
    """Returns what is said of a table with rows that have nothing in its column of ids."""
    return printable(f"the table {source.relative} has rows without an id in column {name!r}")


def no_ids(source: Source, name: str, kind: str) -> str:
    """Returns what is said of a table whose column of ids is of another type."""
    return printable(
        f"the table {source.relative} has {kind} in column {name!r}, and ids are text or whole "
        "numbers"
    )


def _lost_row(row: Any, why: Failure | TableError | BadRow, place: TablePlace) -> Failure:
    if isinstance(why, Failure):
        return why
    if isinstance(why, BadRow):
        number, values, reason = why.number, {}, f"cannot be read: {why.reason}"
    else:
        (number, values), reason = row, str(why)
    ident = row_id(values.get(id_of_names(tuple(values))), path=None, number=number, place=place)
    return Failure(
        image_id=stored(ident),
        original_path=stored(f"{unpin(place.uri)[0]}#{number}"),
        stage="list",
        error="ValueError",
        message=printable(f"its row {reason}"),
    )


class KeptImages:
    """Keeps images that stand in a table of text in one temporary file, made for the first."""

    def __init__(self, begin: Callable[[], tuple[str, BinaryIO | None]]) -> None:
        """Keeps nothing yet; `begin` returns place and file, or None for it to measure only."""
        self._begin = begin
        self._file: BinaryIO | None = None
        self._size = 0
        self.path: str | None = None

    def keep(self, data: bytes) -> Member:
        """Returns where the bytes lie, but for the place of the file, which is not whole yet."""
        if self.path is None:
            self.path, self._file = self._begin()
        if self._file is not None:
            self._file.write(data)
        member = Member(sniff(data) or "", "", self._size, len(data), crc=zlib.crc32(data))
        self._size += len(data)
        return member
