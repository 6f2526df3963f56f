"""Describes the members of samples as Hugging Face's `datasets` reads them: `features` of a card.

Without them its `webdataset` builder makes a column of each member that the first five samples
have, fails if those are not alike, and drops what later ones have beside. A feature of a name that
no member has would be a column of nulls, so the members must be known exactly.

Source: `packaged_modules/webdataset/webdataset.py` of datasets 5.2.0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa
import pyarrow.types as pat

from beam_export.metadata.arrow_types import is_bytes, is_list, is_text
from beam_export.metadata.features import features_of
from beam_export.shards.npy_types import ArrayType, array_types, has_arrays
from beam_export.shards.writer import ShardResult

__all__ = [
    "AUDIO",
    "IMAGE",
    "MESH",
    "VIDEO",
    "HubMembers",
    "features_yaml",
    "hub_members",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Extensions that `datasets` decodes as media.
IMAGE = _words(
    "blp bmp dib bufr cur pcx dcx dds ps eps fit fits fli flc ftc ftu gbr gif grib h5 hdf png "
    "apng jp2 j2k jpc jpf jpx j2c icns ico im iim tif tiff jfif jpe jpg jpeg mpg mpeg msp pcd pxr "
    "pbm pgm ppm pnm psd bw rgb rgba sgi ras tga icb vda vst webp wmf emf xbm xpm"
)
AUDIO = _words(
    "aiff au avr caf flac htk svx mat4 mat5 mpc2k ogg paf pvf raw rf64 sd2 sds ircam voc w64 wav "
    "nist wavex wve xi mp3 opus"
)
VIDEO = _words("mkv mp4 avi mpeg mov")
MESH = _words("glb ply stl")
#: The others that it decodes, by what it makes of them.
_DECODED = {
    **dict.fromkeys(("txt", "text", "transcript"), "string"),
    **dict.fromkeys(("cls", "cls2", "index", "inx", "id"), "int64"),
    **dict.fromkeys(("json", "jsn"), "json"),
}
#: What it makes of these depends on what they hold.
_UNKNOWN = _words("ten tb mp msg npz cbor pth")
#: Members that it decompresses, and decodes by the extension before.
_COMPRESSED = _words("bz2 gz gzip lz4 xz zst zstd")

#: More members than that are no columns; more classes take their reader seconds.
_MOST_MEMBERS = 1_000
_MOST_CLASSES = 25_000


class HubMembers(NamedTuple):
    """The members of all samples of a dataset.

    Attributes:
        images: extensions of the images, sorted.
        fields: extensions of the other members, sorted.
        arrays: the types of those that are arrays, by extension; None where they have none.
        classes: names of the classes whose numbers the `.cls` are; none if they have no names.
        json: the columns that the member of `--json_columns` is made of, by its extension.
    """

    images: Sequence[str]
    fields: Sequence[str]
    arrays: Mapping[str, ArrayType | None]
    classes: Sequence[str]
    json: Mapping[str, Sequence[pa.Field]] = MappingProxyType({})


def hub_members(
    results: Iterable[ShardResult],
    *,
    keep: Collection[str] | None,
    made: Iterable[str],
    columns: pa.Schema,
    json_columns: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> HubMembers | None:
    """Returns the members of all samples of a dataset; None if they are too many, or not known.

    Args:
        results: one per shard.
        keep: extensions of the fields that are left; None for all.
        made: those that samples have been given.
        columns: metadata columns of the dataset.
        json_columns: names of those that a member is made of, by its extension.
    """
    images: set[str] = set()
    fields = set(made)
    arrays: set[str] = set()
    for one in results:
        if one.field_exts is None:
            return None
        images.update(one.image_exts)
        here = {ext for ext in one.field_exts if keep is None or ext in keep}
        fields |= here
        named = {remark for remark, _ in one.remarks}
        # Written by a version that did not look: what is known of other shards is not all.
        if not set(filter(has_arrays, here)) <= array_types(named).keys():
            return None
        arrays |= named
    if len(images | fields) > _MOST_MEMBERS:
        return None
    return HubMembers(
        images=sorted(images),
        fields=sorted(fields),
        arrays=array_types(arrays),
        classes=_classes(columns) if "cls" in fields else (),
        json={ext: [*map(columns.field, names)] for ext, names in json_columns.items()},
    )


def _classes(columns: pa.Schema) -> Sequence[str]:
    """Returns the names of the classes by Hugging Face's description of the column `cls`."""
    feature = features_of(columns).get("cls")
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return ()
    names = feature.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    # Names that come twice are refused by their reader.
    return names if len(set(names)) == len(names) <= _MOST_CLASSES else ()


def features_yaml(members: HubMembers | None) -> list[str]:
    """Returns the lines of the YAML of `features`; none if a member has no type that is known."""
    if members is None:
        return []
    others = (ext for ext in members.fields if ext not in members.images)
    lines = ["features:"]
    for ext in (*members.images, *others):
        kind = _kind(ext, members)
        if not kind:
            return []
        lines += [f"- name: {yaml_text(ext)}", *(f"  {line}" for line in kind)]
    for name in ("__key__", "__url__"):
        lines += [f"- name: {yaml_text(name)}", "  dtype: string"]
    return lines


def _kind(ext: str, members: HubMembers) -> list[str]:
    """Returns the YAML of the type of a member; nothing if it is not known."""
    before, _, last = ext.rpartition(".")
    # It decodes what is inside, and takes the name as it is.
    inner = before.rpartition(".")[2] if last in _COMPRESSED else last
    if inner in _UNKNOWN:
        return []
    for name, exts in (("mesh", MESH), ("video", VIDEO), ("audio", AUDIO), ("image", IMAGE)):
        if last in exts:
            return [f"dtype: {name}"]
    if inner == "npy":
        return _lists(members.arrays.get(ext))
    if ext in members.json:
        return _struct(members.json[ext])
    if ext == "cls" and members.classes:
        names = (
            f"      '{number}': {yaml_text(name)}" for number, name in enumerate(members.classes)
        )
        return ["dtype:", "  class_label:", "    names:", *names]
    return [f"dtype: {_DECODED.get(inner, 'binary')}"]


def _struct(fields: Collection[pa.Field]) -> list[str]:
    """Returns the YAML of JSON that is made of columns, by their types.

    As `json` numbers would be rounded: its reader makes text of ten digits of each, and reads that.
    """
    names = {field.name for field in fields}
    # Of two of one name JSON has one alone.
    if not names or len(names) < len(fields) or len(names) > _MOST_MEMBERS:
        return ["dtype: json"]
    lines = ["struct:"]
    for field in sorted(fields, key=lambda field: field.name):
        kind = _json_kind(field.type)
        lines += [f"- name: {yaml_text(field.name)}", *(f"  {line}" for line in kind)]
    return lines


def _json_kind(kind: pa.DataType) -> list[str]:
    """Returns the YAML of what JSON holds of a column's type (`json_member`).

    >>> _json_kind(pa.list_(pa.float32())), _json_kind(pa.timestamp("us"))
    (['list:', '  dtype: float64'], ['dtype: string'])
    """
    if pat.is_dictionary(kind):
        return _json_kind(kind.value_type)
    if is_list(kind):
        return ["list:", *(f"  {line}" for line in _json_kind(kind.value_type))]
    if pat.is_struct(kind):
        return _struct([*kind])
    return [f"dtype: {_json_scalar(kind)}"]


def _json_scalar(kind: pa.DataType) -> str:
    if pat.is_boolean(kind):
        return "bool"
    # Those that no int64 holds it reads as `json` alone, and exactly.
    if pat.is_integer(kind) and not pat.is_uint64(kind):
        return str(kind)
    # Text of a number is of the double that it stands for, whatever the column is.
    if pat.is_floating(kind) or pat.is_duration(kind):
        return "float64"
    moments = pat.is_date(kind) or pat.is_time(kind) or pat.is_timestamp(kind)
    if is_text(kind) or is_bytes(kind) or moments or pat.is_decimal(kind):
        return "string"
    # In quotes, or it is no text to YAML. Types of a user's own schema may be anything.
    return '"null"' if pat.is_null(kind) else "json"


def _lists(array: ArrayType | None) -> list[str]:
    """Returns the YAML of arrays, which are read as nested lists."""
    if array is None:
        return []
    if array.dimensions == 0:
        return [f"dtype: {array.dtype}"]
    outer = [f"{'  ' * depth}list:" for depth in range(array.dimensions - 1)]
    return [*outer, f"{'  ' * (array.dimensions - 1)}list: {array.dtype}"]


def yaml_text(text: str) -> str:
    r"""Returns text as a scalar of YAML, in ASCII where it could be more than text to anything.

    >>> print(yaml_text('größe "<b>"'))
    "größe \x22\x3cb\x3e\x22"
    """
    valid = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f'"{"".join(map(_yaml_character, valid))}"'


def _yaml_character(character: str) -> str:
    if character.isprintable() and character not in '"\\<>&`':
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
