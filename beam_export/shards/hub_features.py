"""Describes the members of samples as Hugging Face's `datasets` reads them: `features` of a card.

Without them its `webdataset` builder makes a column of each member that the first five samples
have, fails if those are not alike, and drops what later ones have beside. A feature of a name that
no member has would be a column of nulls, so the members must be known exactly.

Source: `packaged_modules/webdataset/webdataset.py` of datasets 5.2.0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

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
    """

    images: Sequence[str]
    fields: Sequence[str]
    arrays: Mapping[str, ArrayType | None]
    classes: Sequence[str]


def hub_members(
    results: Iterable[ShardResult],
    *,
    keep: Collection[str] | None,
    made: Iterable[str],
    columns: pa.Schema,
) -> HubMembers | None:
    """Returns the members of all samples of a dataset; None if they are too many, or not known.

    Args:
        results: one per shard.
        keep: extensions of the fields that are left; None for all.
        made: those that samples have been given.
        columns: metadata columns of the dataset.
    """
    images: set[str] = set()
    fields = set(made)
    arrays: set[str] = set()
    for one in results:
        # Of those that all samples have, a shard that was kept has each, however many others came.
        exts = keep if one.field_exts is None else one.field_exts
        if exts is None:
            return None
        images.update(one.image_exts)
        here = {ext for ext in exts if keep is None or ext in keep}
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
    if ext == "cls" and members.classes:
        names = (
            f"      '{number}': {yaml_text(name)}" for number, name in enumerate(members.classes)
        )
        return ["dtype:", "  class_label:", "    names:", *names]
    return [f"dtype: {_DECODED.get(inner, 'binary')}"]


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
