"""Images and the files that belong to them, by their names alone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from typing import NamedTuple

from beam_export.naming import clean_ext
from beam_export.samples import WHOLE, Failure, Member
from beam_export.storage.uris import pin_file, unpin
from beam_export.text import printable

__all__ = [
    "IMAGE_SUFFIXES",
    "Beside",
    "Entry",
    "Listed",
    "Skipped",
    "Source",
    "join",
    "kind_of",
    "local_entry",
    "pair",
    "source_kind",
    "split",
    "tar_stem",
]

#: Of the formats of format.md, part 5.
IMAGE_SUFFIXES = frozenset(
    {
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "tif", "tiff"),
        *("bmp", "dib", "avif"),
    }
)

#: How files that hold many samples end, by what they are.
_SOURCES = {
    "webdataset": (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"),
    "parquet": (".parquet",),
    "table": (".csv", ".tsv", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".jsonl.gz"),
}


class Listed(NamedTuple):
    """An image file: its path relative to the root, where it lies, and its sidecars."""

    relative: str
    image: Member
    fields: tuple[Member, ...]


class Entry(NamedTuple):
    """A file of a directory: its name, where it lies (pinned), its size in bytes."""

    name: str
    uri: str
    size: int


class Source(NamedTuple):
    """A file that holds many samples.

    Attributes:
        kind: `webdataset` (a tar), `parquet`, or `table` (CSV, JSONL).
        relative: its path relative to the root.
        uri: where it lies.
        size: bytes.
        order: its place among all inputs; what its samples' order keys begin with.
        companions: files beside a tar that belong to it; of an export's manifest, its shards.
    """

    kind: str
    relative: str
    uri: str
    size: int
    order: bytes = b""
    companions: tuple[Entry, ...] = ()

    @property
    def name(self) -> str:
        """The file's name."""
        return self.relative.rpartition("/")[2]

    @property
    def parquet(self) -> Entry | None:
        """The Parquet that belongs to a tar."""
        return self._companion(".parquet")

    @property
    def dali_index(self) -> Entry | None:
        """The index that belongs to a tar, as DALI's `wds2idx` writes it."""
        return self._companion(".idx")

    def _companion(self, end: str) -> Entry | None:
        # Between workers they travel as plain tuples.
        return next((Entry(*one) for one in self.companions if one[0].endswith(end)), None)


class Beside(NamedTuple):
    """A file that belongs to a tar, and is read with it.

    Attributes:
        tar: what it belongs to.
    """

    tar: Source


class Skipped(NamedTuple):
    """Something that is not exported, by what it is: a suffix, or a few words in brackets."""

    kind: str


def local_entry(name: str, path: str, status: os.stat_result) -> Entry:
    """Returns a file of this machine, pinned to what it is."""
    size = status.st_size
    return Entry(name, pin_file(path, size, status.st_mtime_ns), size)


def join(folder: str, name: str) -> str:
    """Returns the relative path of what is called `name` in a directory; `""` is the root."""
    return f"{folder}/{name}" if folder else name


def split(name: str) -> tuple[str, str]:
    """Returns a name's stem and its suffix, which is in lower case and without the dot."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, suffix.lower()) if dot else (name, "")


def kind_of(name: str) -> str:
    """Returns what a skipped file is counted as; odd suffixes can be many, and count as one."""
    suffix = split(name)[1]
    if not suffix:
        return "(no suffix)"
    return f".{suffix}" if clean_ext(suffix) else "(other suffix)"


def tar_stem(name: str) -> str | None:
    """Returns the name of a tar without what tells that it is one, None if it is none."""
    lower = name.lower()
    return next((name[: -len(end)] for end in _SOURCES["webdataset"] if lower.endswith(end)), None)


def source_kind(name: str) -> str | None:
    """Returns the kind of `Source` that a file's name tells, None if it is none."""
    lower = name.lower()
    return next((kind for kind, ends in _SOURCES.items() if lower.endswith(ends)), None)


def pair(
    files: Iterable[Entry], folder: str
) -> tuple[list[tuple[str, Listed | Failure]], list[Entry]]:
    """Returns a directory's images, each with the files of the same stem, and all other files.

    The images come with their place, the path that they are sorted by.
    """
    images: list[tuple[str, Entry]] = []
    others: list[tuple[str, str | None, Entry]] = []
    for file in files:
        stem, suffix = split(file.name)
        if suffix in IMAGE_SUFFIXES:
            images.append((stem, file))
        else:
            others.append((stem, clean_ext(suffix), file))
    stems = {stem for stem, _ in images}
    sidecars: dict[str, list[Member]] = {}
    rest: list[Entry] = []
    for stem, ext, file in others:
        if stem in stems and ext is not None:
            sidecars.setdefault(stem, []).append(Member(ext, file.uri, WHOLE, file.size))
        else:
            rest.append(file)
    found = []
    for stem, image in images:
        place = join(folder, image.name)
        found.append((place, _with_sidecars(image, place, sorted(sidecars.get(stem, ())))))
    return found, rest


def _with_sidecars(image: Entry, relative: str, fields: list[Member]) -> Listed | Failure:
    for one, other in itertools.pairwise(fields):
        if one.ext == other.ext:
            both = (os.path.basename(unpin(each.uri)[0]) for each in (one, other))
            names = " and ".join(map(printable, both))
            ident = printable(relative.rpartition(".")[0])
            reason = f"its sidecars {names} would have the same name in the tar"
            return Failure(ident, printable(unpin(image.uri)[0]), "list", "ValueError", reason)
    member = Member(split(image.name)[1], image.uri, WHOLE, image.size)
    return Listed(relative, member, tuple(fields))
