"""The tables of image folders: `metadata.csv`, `.jsonl` or `.parquet` with a column `file_name`.

Hugging Face's imagefolder has them: each names images by their paths relative to its own folder.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from beam_export.errors import InputError
from beam_export.metadata.arrow_types import is_text
from beam_export.metadata.columns import ColumnChoice
from beam_export.packing import pack, unpack
from beam_export.sources.entries import Source
from beam_export.sources.tables.formats import BadRow, TableError, is_json, is_parquet
from beam_export.sources.tables.lookup import may_be_ids, with_columns
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.refs import resolve
from beam_export.sources.tables.rows import TableTypes, read_rows, read_types
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.open_files import open_source
from beam_export.storage.retry import is_permanent
from beam_export.text import printable

__all__ = [
    "FILE_NAME",
    "FolderRow",
    "UnfitTableError",
    "choose_columns_of_folder_rows",
    "columns_of",
    "pack_folder_rows",
    "read_folder_rows",
    "unpack_folder_rows",
]

#: The column with the names of the images.
FILE_NAME = "file_name"
#: Bytes in which the first line of a table ends, or is long enough to be judged.
_HEAD = 1 << 16


class UnfitTableError(Exception):
    """A table names no images, or cannot be read; it is passed by. The text says why.

    Attributes:
        unreadable: whether it cannot be read.
        names: of its columns that may name images in another way; none if it cannot be read.
    """

    def __init__(self, reason: str, *, unreadable: bool, names: Iterable[str] = ()) -> None:
        super().__init__(reason)
        self.unreadable = unreadable
        self.names = tuple(names)


class FolderRow(NamedTuple):
    """A row of such a table.

    Attributes:
        path: of the image, as `SampleRef.path` has it.
        place: how it comes among rows of one image: the nearest folder's first, then by number.
        shown: the image's path relative to the input.
        values: column name to value, pickled, without the image's name.
        typed: names of the columns whose types the table declares.
        table: its path relative to the input.
    """

    path: str
    place: tuple[int, int]
    shown: str
    values: bytes
    typed: tuple[str, ...]
    table: str = ""


def pack_folder_rows(rows: Iterable[FolderRow]) -> bytes:
    """Returns rows as one value, for a shuffle."""
    return pack([tuple(row) for row in rows])


def unpack_folder_rows(packed: bytes | memoryview) -> list[FolderRow]:
    """Returns the rows that `pack_folder_rows` packed."""
    return [FolderRow(*row) for row in unpack(packed)]


def choose_columns_of_folder_rows(
    packed: bytes, choice: ColumnChoice
) -> tuple[bytes, frozenset[str]]:
    """Returns packed rows with the columns that are left, and the names of those they had."""
    names: set[str] = set()
    chosen = [
        row._replace(**with_columns(row.values, row.typed, choice=choice, names=names))
        for row in unpack_folder_rows(packed)
    ]
    return pack_folder_rows(chosen), frozenset(names)


def columns_of(source: Source, encoding: str) -> tuple[pa.Schema | None, TableTypes]:
    """Returns the columns of a table without the images' names, and the types of its text.

    Args:
        source: the table.
        encoding: of text, if no byte-order mark says otherwise.

    Returns:
        The columns that it declares, None for text; and what the values of a CSV fit.

    Raises:
        UnfitTableError: if it has no such names, or cannot be read.
        InputError: if it has, and cannot be decoded.
        OSError: if it cannot be read at present.
    """
    with _opened(source) as file:
        if is_parquet(source.relative):
            schema = ParquetTable(file).schema
            if FILE_NAME not in schema.names or not is_text(schema.field(FILE_NAME).type):
                raise _without_names(source, [one.name for one in schema if may_be_ids(one.type)])
            kept = [field for field in schema if field.name != FILE_NAME]
            return pa.schema(kept, schema.metadata), TableTypes()
        types = read_types(file, source.relative, encoding)
        if is_json(source.relative):
            _refuse_nameless(file, source, encoding)
        elif FILE_NAME not in types.text.columns:
            raise _without_names(source, types.text.columns)
    # Names are text, even where they look like numbers.
    types.text.add(FILE_NAME, "text")
    return None, types


def _names_images(file: BinaryIO) -> bool:
    """Returns whether the first line of a table of text has the name of the column, in any case.

    Without its zeros it is that of UTF-16 and UTF-32 too.
    """
    file.seek(0)
    head = file.read(_HEAD).replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n,;")
    return FILE_NAME.encode() in (head.splitlines() or [b""])[0]


def _refuse_nameless(file: BinaryIO, source: Source, encoding: str) -> None:
    """Refuses JSON lines of which none names an image; read up to the first that does."""
    names: dict[str, None] = {}
    blocks = read_rows(file, source.relative, TableTypes(), encoding=encoding)
    for number, block in enumerate(blocks):
        rows = [row[1] for row in block if not isinstance(row, BadRow)]
        if any(map(_name_in, rows)):
            return
        if not number:
            # Of the first rows alone: where keys are data, all would be too many.
            cells = (cell for row in rows for cell in row.items())
            names.update((name, None) for name, value in cells if type(value) in (str, int))
    raise _without_names(source, names)


def _name_in(values: Mapping[str, Any]) -> str:
    """Returns the name of the image in a row; empty if there is none."""
    name = values.get(FILE_NAME)
    return name if isinstance(name, str) else ""


def _without_names(source: Source, names: Iterable[str]) -> UnfitTableError:
    reason = f"the table {source.relative} has no text in a column {FILE_NAME!r} to name images by"
    return UnfitTableError(reason, unreadable=False, names=names)


def read_folder_rows(source: Source, types: TableTypes, encoding: str) -> Iterator[bytes]:
    """Yields packed rows of a table.

    Args:
        source: the table.
        types: of all CSV files among such tables.
        encoding: of text, if no byte-order mark says otherwise.

    Raises:
        UnfitTableError: if it cannot be read to its end.
        InputError: if it cannot be decoded to its end.
        OSError: if it cannot be read at present.
    """
    with _opened(source) as file:
        typed = is_parquet(source.relative)
        for rows in read_rows(file, source.relative, types, encoding=encoding):
            yield pack_folder_rows(_row(row, source, typed=typed) for row in rows)


def _row(row: Any, source: Source, typed: bool) -> FolderRow:
    folder, _, _ = source.relative.rpartition("/")
    number, values = (row.number, {}) if isinstance(row, BadRow) else row
    name = _name_in(values)
    # Not its depth below the root: inputs may have several.
    place = (-source.path.count("/"), number)
    if not name:
        # It matches nothing, and is counted so.
        shown = f"row {number + 1} of {source.relative}"
        return FolderRow("", place, shown=shown, values=pickle.dumps({}), typed=())
    rest = {one: value for one, value in values.items() if one != FILE_NAME}
    return FolderRow(
        path=resolve(name, source.path),
        place=place,
        shown=f"{folder}/{name}" if folder else name,
        values=pickle.dumps(rest, protocol=5),
        typed=tuple(rest) if typed else (),
        table=printable(source.relative),
    )


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[Any]:
    """Opens a table; what is wrong with it for good is an UnfitTableError, or an InputError.

    Captions in a wrong encoding would be lost by passing the table by, and one flag reads them: an
    InputError, as of any other table, if it names images.
    """
    try:
        with open_source(source.uri) as file:
            try:
                yield file
            except InputError as error:
                if not _names_images(file):
                    raise UnfitTableError(error.sentence.rstrip("."), unreadable=True) from error
                raise InputError(
                    f"{error.sentence.rstrip('.')}, or leave the table out by --metadata=none."
                ) from error
            check_unchanged(file)
    except TableError as error:
        raise UnfitTableError(f"the table {source.relative} {error}", unreadable=True) from error
    except OSError as error:
        if not is_permanent(error):
            raise
        reason = f"the table {source.relative} cannot be opened: {error.strerror}"
        raise UnfitTableError(reason, unreadable=True) from error
