"""Finds the columns of a table that hold the image, its path and the sample's id."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.types as pat

from beam_export.metadata.arrow_types import is_bytes, is_list, is_text
from beam_export.sources.tables.base64_images import is_image_text
from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.parquet import ParquetTable

__all__ = [
    "Roles",
    "column_of_no_ids",
    "id_of_names",
    "key_of_names",
    "may_be_images",
    "roles_of_names",
    "roles_of_schema",
    "roles_of_table",
]

#: Names of columns, in order of preference; case does not matter.
_IDS = ("image_id", "id", "key", "__key__", "sample_id", "uid")
_IMAGES = (
    *("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "img_bytes", "bytes"),
    *("image_data", "photo", "picture", "content", "data"),
)
#: Names of columns of text that say that it is images.
_BASE64 = (
    *("image_base64", "image_b64", "img_base64", "img_b64", "base64_image", "b64_image"),
    *("image_base64_str", "base64", "b64"),
    *("data_uri", "data_url", "image_data_uri", "image_data_url", "datauri", "dataurl"),
)
#: Names of columns that only say where an image came from; those of `_PATHS` may mean more.
_PLACES = (
    *("image_path", "img_path", "path", "file_name", "filename", "filepath", "file_path"),
    *("image_file", "original_path"),
)
_PATHS = (
    *_PLACES,
    *("file", "image", "img", "jpg", "jpeg", "png", "photo", "picture"),
    *("image_uri", "uri", "image_url", "url"),
)


#: Names of columns and letters of a type that a message shows.
_MOST_NAMES, _MOST_LETTERS = 20, 80


class Roles(NamedTuple):
    """The names of the columns with a meaning; empty where there is none.

    Attributes:
        id: of the sample.
        image: the image's bytes, Hugging Face's struct of `bytes` and `path`, or base64 text.
        path: of the image; beside an image's bytes, where it came from.
        status: of an img2dataset export, whether the row has an image.
    """

    id: str = ""
    image: str = ""
    path: str = ""
    status: str = ""


def roles_of_table(table: ParquetTable) -> Roles:
    """Returns the roles of the columns of a Parquet file, by their names, types and first values.

    Raises:
        TableError: if it has no column of images or paths.
    """
    with contextlib.suppress(TableError):
        if (found := roles_of_schema(table.schema)).image:
            # Of bytes, or called so: no value is looked at.
            return found
    texts = tuple(field.name for field in table.schema if is_text(field.type))
    meant = may_be_images(texts)
    images = _images_among(table, meant)
    try:
        return roles_of_schema(table.schema, images)
    except TableError:
        # Whatever it is called: nothing else of the table is an image.
        others = _images_among(table, [name for name in texts if name not in meant])
        if len(others) != 1:
            raise
        return roles_of_schema(table.schema, others)


def _images_among(table: ParquetTable, names: Iterable[str]) -> frozenset[str]:
    """Returns those of some columns of text whose first value is plainly an image."""
    return frozenset(name for name in names if is_image_text(_first_value(table, name)))


# Asked for each row, as `roles_of_names` is.
@functools.lru_cache(maxsize=1024)
def may_be_images(names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of columns whose text may be an image, by what they are called.

    >>> may_be_images(("caption", "Image", "data"))
    ('Image', 'data')
    """
    return tuple(name for name in names if name.lower() in (*_IMAGES, *_PATHS))


def _first_value(table: ParquetTable, name: str) -> object:
    """Returns the first value of a column, among the first rows of the file, that is not null."""
    # What is wrong with the rows is said by the step that reads them.
    with contextlib.suppress(TableError):
        for _, batch in table.batches(0, [name]) if table.groups else ():
            return next(filter(None, batch.column(0).to_pylist()), None)
    return None


def roles_of_schema(schema: pa.Schema, images: Collection[str] = ()) -> Roles:
    """Returns the roles of the columns of a Parquet file.

    Args:
        schema: its columns.
        images: those of text whose values are plainly images.

    Raises:
        TableError: if it has no column of images or paths.
    """
    types = {field.name: field.type for field in schema}
    _refuse_companions(types)
    structs = [name for name, kind in types.items() if _is_image_struct(name, kind)]
    binaries = [name for name, kind in types.items() if is_bytes(kind) or name in images]
    texts = [name for name, kind in types.items() if is_text(kind)]
    # A struct of Hugging Face's is an image under any name; plain bytes may be anything.
    image = (
        _first(_IMAGES, [*structs, *binaries])
        or next(iter(structs), "")
        or _first(_BASE64, texts)
        or _first((*_IMAGES, *_PATHS), list(images))
    )
    path = _first(_PLACES if image else _PATHS, [name for name in texts if name != image])
    # One column of bytes can be meant alone; of several, none is guessed.
    if not image and not path and len(binaries) == 1:
        image = binaries[0]
    if not image and not path:
        raise TableError(_unfit_types(types))
    if image and {"status", "error_message", "key"} <= types.keys():
        return Roles(id="key", image=image, path=path, status="status")
    ids = [name for name, kind in types.items() if is_text(kind) or pat.is_integer(kind)]
    return Roles(_first(_IDS, ids), image, path)


def key_of_names(names: Sequence[str]) -> tuple[str, bool]:
    """Returns the column that names images, and whether it does so by paths; ("", False) if none.

    >>> key_of_names(["caption", "file_name"]), key_of_names(["id", "score"])
    (('file_name', True), ('id', False))
    """
    path = _first(_PATHS, names)
    return path or _first(_IDS, names), bool(path)


# Asked for each row, as each line of JSON has names of its own, which mostly are the same.
@functools.lru_cache(maxsize=1024)
def roles_of_names(names: tuple[str, ...], image: str = "") -> Roles:
    """Returns the roles of the columns of a row of a table of text.

    Args:
        names: of its columns.
        image: the column whose value is plainly an image, if there is one.

    Raises:
        TableError: if it has no column of paths or of images.
    """
    _refuse_companions(names)
    image = image or _first(_BASE64, names)
    path = _first(_PLACES if image else _PATHS, [name for name in names if name != image])
    if not image and not path:
        raise TableError(_nothing_fits(names))
    return Roles(_first(_IDS, names), image, path)


def column_of_no_ids(schema: pa.Schema, roles: Roles) -> str:
    """Returns the column that is called as those of ids are, and can hold none; empty if none is.

    >>> column_of_no_ids(pa.schema([("id", pa.float64())]), Roles(path="path"))
    'id'
    """
    return "" if roles.id else _first(_IDS, schema.names)


# Asked for each row, as `roles_of_names` is.
@functools.lru_cache(maxsize=1024)
def id_of_names(names: tuple[str, ...]) -> str:
    """Returns the column that is called as those of ids are; empty if none is."""
    return _first(_IDS, names)


def _first(wanted: Sequence[str], names: Sequence[str]) -> str:
    # Reversed: of names that differ in case alone, the first is taken.
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in wanted if name in lower), "")


def _is_image_struct(name: str, kind: pa.DataType) -> bool:
    if not pat.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    inner = kind.field("bytes").type
    # Of text, base64: as any text, where the column's name says that it is an image.
    return is_bytes(inner) or bool(
        pat.is_null(inner) or (is_text(inner) and name.lower() in _IMAGES)
    )


def _refuse_companions(names: Iterable[str]) -> None:
    """Raises a TableError for the tables of exports, which name members of tars, not images."""
    held = set(names)
    ours = {"tar_file", "member_name"} <= held
    if ours or ({"key", "status", "url"} <= held and not held & set(_IMAGES)):
        raise TableError("describes the samples of tars: give those tars, or their directory")


def _nothing_fits(names: Iterable[str]) -> str:
    return (
        f"has no column of images or of paths to images; its columns are {_listed(names)}: call "
        "the one with the images 'image', or the one with the paths 'path'"
    )


def _unfit_types(types: Mapping[str, pa.DataType]) -> str:
    """Returns why no column is one of images: a type, where a name says that it is meant to be."""
    meant = _first((*_IMAGES, *_PATHS), list(types))
    if not meant and (several := _lists_of_images(types)):
        return (
            f"has several images in each row, in column {several!r} of type "
            f"{_short(types[several])}: write a row for each image"
        )
    if not meant:
        return _nothing_fits(types)
    kind = types[meant]
    how = ", which is how Spark stores pixels" if _is_spark_image(kind) else ""
    return (
        f"has a column {meant!r} of type {_short(kind)}{how}: images are bytes (binary), "
        "Hugging Face's struct<bytes, path>, base64 text, or text with the path of a file"
    )


def _lists_of_images(types: Mapping[str, pa.DataType]) -> str:
    """Returns the first column of lists of bytes, or of Hugging Face's structs; empty if none."""
    for name, kind in types.items():
        inner = kind.value_type if is_list(kind) else kind
        if is_list(kind) and (is_bytes(inner) or _is_image_struct("", inner)):
            return name
    return ""


def _is_spark_image(kind: pa.DataType) -> bool:
    return pat.is_struct(kind) and {"nChannels", "mode", "data"} <= {one.name for one in kind}


def _short(kind: pa.DataType) -> str:
    """Returns a type in words, cut short.

    >>> _short(pa.list_(pa.uint8())), _short(pa.struct([("a", pa.int8())]))
    ('list<uint8>', 'struct<a: int8>')
    """
    if is_list(kind):
        return f"list<{_short(kind.value_type)}>"
    text = str(kind)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."


def _listed(names: Iterable[str]) -> str:
    held = list(names)
    more = f" and {len(held) - _MOST_NAMES} more" if len(held) > _MOST_NAMES else ""
    return ", ".join(map(repr, held[:_MOST_NAMES])) + more or "none"
