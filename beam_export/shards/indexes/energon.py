"""What Megatron Energon reads beside the shards: `{tar}.idx`, and three files in `.nv-meta`.

With them its `prepare` has nothing left to do, but for the database of `index.sqlite`, which only
access by a sample's key needs. The bytes are those that `energon prepare` makes (megatron-energon
7.4.1: `flavors/webdataset/itar.py`, `prepare.py`, `tools/prepare.py`):

* `{tar}.idx`: the offset of the header of each sample, and of the end of the last, as unsigned
  little-endian integers of 64 bits,
* `.info.json`: how many samples each tar holds, in order,
* `split.yaml`: which tars are of which split,
* `dataset.yaml`: what the members of a sample mean.
"""

from __future__ import annotations

import itertools
import json
import re
import struct
from collections.abc import Collection, Mapping, Sequence

from beam_export.naming import parse
from beam_export.shards.indexes.counts import tars_of_one_export
from beam_export.tar_blocks import BLOCK

__all__ = [
    "DATASET",
    "FOLDER",
    "INFO",
    "SPLIT",
    "dataset_yaml",
    "info_json",
    "is_energon_index",
    "is_info",
    "split_yaml",
    "tar_index",
]

FOLDER = ".nv-meta"
INFO, SPLIT, DATASET = (f"{FOLDER}/{name}" for name in (".info.json", "split.yaml", "dataset.yaml"))

#: The release whose files these are: it writes its version into `.info.json`.
_VERSION = "7.4.1"
#: Which splits its tools expect where the dataset has none.
_USUAL_SPLITS = ("train", "val", "test")
#: Words that YAML takes for more than text, and what needs no quotes (YAML 1.1 and 1.2).
_WORD = re.compile(r"(?!(?:true|false|yes|no|on|off|null|y|n)\Z)[A-Za-z][A-Za-z0-9_\-]*", re.I)
#: By which extension the image of a sample is found, of several: as `sources.tar.webdataset`.
_FIRST_IMAGES = ("jpg", "jpeg", "png", "webp")


def tar_index(offsets: Sequence[int], end: int) -> bytes:
    """Returns the index of a shard.

    Args:
        offsets: of the header of each sample's first member.
        end: offset behind the last member.

    >>> tar_index([0], 1024).hex()
    '00000000000000000004000000000000'
    """
    return struct.pack(f"<{len(offsets) + 1}Q", *offsets, end)


def is_energon_index(data: bytes) -> bool:
    """Returns whether a file is, in form, the index of a shard.

    >>> is_energon_index(tar_index([0, 1024], 4096)), is_energon_index(b"my own notes 123")
    (True, False)
    """
    if len(data) < 16 or len(data) % 8:
        return False
    offsets = struct.unpack(f"<{len(data) // 8}Q", data)
    rises = all(one < other for one, other in itertools.pairwise(offsets))
    return offsets[0] == 0 and rises and all(one % BLOCK == 0 for one in offsets)


def info_json(samples: Mapping[str, int]) -> bytes:
    """Returns `.info.json` of the samples by the name of the tar, in the order of the tars."""
    content = {"energon_version": _VERSION, "shard_counts": dict(samples)}
    return json.dumps(content, indent=2).encode("ascii")


def is_info(data: bytes) -> bool:
    """Returns whether a file is a `.info.json` of all tars of one export of ours."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and tars_of_one_export(content.get("shard_counts"))


def split_yaml(splits: Mapping[str, Sequence[str]], tars: Sequence[str]) -> bytes:
    """Returns `split.yaml`.

    Args:
        splits: names of tars by split; if there are none, all tars are for training.
        tars: names of all tars, in order.
    """
    parts = splits or {name: tars if name == "train" else [] for name in _USUAL_SPLITS}
    lines = ["split_parts:"]
    for name, names in parts.items():
        ranges = _ranges(names)
        lines.append(f"  {_scalar(name)}:" + ("" if ranges else " []"))
        lines.extend(f"  - {one}" for one in ranges)
    return "\n".join([*lines, "exclude: []", ""]).encode()


def _scalar(text: str) -> str:
    """Returns text as a key of YAML, in quotes where it could be taken for something else.

    >>> _scalar("train"), _scalar("no"), _scalar("2024: x")
    ('train', '"no"', '"2024: x"')
    """
    # A string of JSON is one of YAML, but for what lies beyond 16 bits.
    return text if _WORD.fullmatch(text) else json.dumps(text, ensure_ascii=not text.isprintable())


def _ranges(tars: Sequence[str]) -> list[str]:
    """Returns names of shards with runs of them as one `{a..b}`.

    >>> _ranges([f"images-0123456789ab-00000{n}.tar" for n in (0, 1, 2, 4)])
    ['images-0123456789ab-{000000..000002}.tar', 'images-0123456789ab-000004.tar']
    """
    found = []
    numbered = [(number, name) for name in tars if (number := _number(name)) is not None]
    # Within a run the distance of number and place is one, and so is the count of digits.
    for _, run in itertools.groupby(enumerate(numbered), lambda one: _run_of(one[0], *one[1])):
        names = [name for _, (_, name) in run]
        found.append(names[0] if len(names) == 1 else _range(names[0], names[-1]))
    return found


def _number(name: str) -> int | None:
    parsed = parse(name)
    return parsed.number if parsed is not None else None


def _run_of(place: int, number: int, name: str) -> tuple[int, int]:
    return number - place, len(name)


def _range(first: str, last: str) -> str:
    stem = first.rpartition("-")[0]
    digits = [name.rpartition("-")[2].removesuffix(".tar") for name in (first, last)]
    return f"{stem}-{{{'..'.join(digits)}}}.tar"


def dataset_yaml(images: Collection[str], fields: Collection[str]) -> bytes:
    """Returns `dataset.yaml`: captions where all samples have one, else classes, else images alone.

    Args:
        images: extensions of the samples' images.
        fields: extensions that all samples have beside it.

    >>> print(dataset_yaml({"png", "jpg"}, {"cls"}).decode(), end="")
    sample_type:
      __module__: megatron.energon
      __class__: ImageClassificationSample
    field_map:
      image: jpg,png
      label: cls
    """
    kind, field_map = "ImageSample", {"image": ",".join(sorted(images, key=_image_rank))}
    if "txt" in fields:
        kind, field_map = "CaptioningSample", {**field_map, "caption": "txt"}
    elif "cls" in fields:
        kind, field_map = "ImageClassificationSample", {**field_map, "label": "cls"}
    lines = ["sample_type:", "  __module__: megatron.energon", f"  __class__: {kind}", "field_map:"]
    lines.extend(f"  {field}: {members}" for field, members in field_map.items())
    return "\n".join([*lines, ""]).encode("ascii")


def _image_rank(ext: str) -> tuple[int, str]:
    first = _FIRST_IMAGES.index(ext) if ext in _FIRST_IMAGES else len(_FIRST_IMAGES)
    return first, ext
