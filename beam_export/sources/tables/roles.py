"""Finds the columns of a table that hold the image, its path and the sample's id."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.types as pat

from beam_export.metadata.arrow_types import is_bytes, is_text
from beam_export.sources.tables.formats import TableError

__all__ = ["Roles", "roles_of_names", "roles_of_schema"]

#: Names of columns, in order of preference; case does not matter.
_IDS = ("image_id", "id", "key", "__key__", "sample_id", "uid")
_IMAGES = (
    *("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "img_bytes", "bytes"),
    *("image_data", "photo", "picture", "content", "data"),
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


class Roles(NamedTuple):
    """The names of the columns with a meaning; empty where there is none.

    Attributes:
        id: of the sample.
        image: the image's bytes, or Hugging Face's struct of `bytes` and `path`.
        path: of the image; beside an image's bytes, where it came from.
        status: of an img2dataset export, whether the row has an image.
    """

    id: str = ""
    image: str = ""
    path: str = ""
    status: str = ""


def roles_of_schema(schema: pa.Schema) -> Roles:
    """Returns the roles of the columns of a Parquet file.

    Raises:
        TableError: if it has no column of images or paths.
    """
    types = {field.name: field.type for field in schema}
    _refuse_companions(types)
    structs = [name for name, kind in types.items() if _is_image_struct(kind)]
    binaries = [name for name, kind in types.items() if is_bytes(kind)]
    texts = [name for name, kind in types.items() if is_text(kind)]
    # A struct of Hugging Face's is an image under any name; plain bytes may be anything.
    image = _first(_IMAGES, [*structs, *binaries]) or next(iter(structs), "")
    path = _first(_PLACES if image else _PATHS, texts)
    # One column of bytes can be meant alone; of several, none is guessed.
    if not image and not path and len(binaries) == 1:
        image = binaries[0]
    if not image and not path:
        raise TableError(_nothing_fits(types))
    if image and {"status", "error_message", "key"} <= types.keys():
        return Roles(id="key", image=image, path=path, status="status")
    ids = [name for name, kind in types.items() if is_text(kind) or pat.is_integer(kind)]
    return Roles(_first(_IDS, ids), image, path)


# Asked for each row, as each line of JSON has names of its own, which mostly are the same.
@functools.lru_cache(maxsize=1024)
def roles_of_names(names: tuple[str, ...]) -> Roles:
    """Returns the roles of the columns of a row of text, which holds no image itself.

    Raises:
        TableError: if it has no column of paths.
    """
    _refuse_companions(names)
    path = _first(_PATHS, names)
    if not path:
        raise TableError(_nothing_fits(names))
    return Roles(_first(_IDS, names), "", path)


def _first(wanted: Sequence[str], names: Sequence[str]) -> str:
    # Reversed: of names that differ in case alone, the first is taken.
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in wanted if name in lower), "")


def _is_image_struct(kind: pa.DataType) -> bool:
    if not pat.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    inner = kind.field("bytes").type
    return is_bytes(inner) or bool(pat.is_null(inner))


def _refuse_companions(names: Iterable[str]) -> None:
    """Raises a TableError for the tables of exports, which name members of tars, not images."""
    held = set(names)
    ours = {"tar_file", "member_name"} <= held
    if ours or ({"key", "status", "url"} <= held and not held & set(_IMAGES)):
        raise TableError("describes the samples of tars: give those tars, or their directory")


def _nothing_fits(names: Iterable[str]) -> str:
    held = ", ".join(map(repr, names)) or "none"
    return (
        f"has no column of images or of paths to images; its columns are {held}: call the one "
        "with the images 'image', or the one with the paths 'path'"
    )
