"""Images and the files that belong to them, by their names alone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_export.naming import clean_ext
from beam_export.samples import WHOLE, Failure, Member
from beam_export.text import printable

__all__ = ["IMAGE_SUFFIXES", "Entry", "Listed", "Skipped", "join", "kind_of", "pair", "split"]

#: Of the formats of format.md, part 5.
IMAGE_SUFFIXES = frozenset(
    {
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "tif", "tiff"),
        *("bmp", "dib", "avif"),
    }
)


class Listed(NamedTuple):
    """An image file: its path relative to the root, where it lies, and its sidecars."""

    relative: str
    image: Member
    fields: tuple[Member, ...]


class Skipped(NamedTuple):
    """Something that is not exported, by what it is: a suffix, or a few words in brackets."""

    kind: str


class Entry(NamedTuple):
    """A file of a directory: its name, where it lies, its size in bytes."""

    name: str
    uri: str
    size: int


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


def pair(files: Iterable[Entry], folder: str) -> Iterator[tuple[str, Listed | Failure | Skipped]]:
    """Yields a directory's images, each with the files of the same stem, by their place."""
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
    for stem, ext, file in others:
        if stem in stems and ext is not None:
            sidecars.setdefault(stem, []).append(Member(ext, file.uri, WHOLE, file.size))
        else:
            yield join(folder, file.name), Skipped(kind_of(file.name))
    for stem, image in images:
        place = join(folder, image.name)
        yield place, _with_sidecars(image, place, sorted(sidecars.get(stem, ())))


def _with_sidecars(image: Entry, relative: str, fields: list[Member]) -> Listed | Failure:
    for one, other in itertools.pairwise(fields):
        if one.ext == other.ext:
            names = " and ".join(printable(os.path.basename(each.uri)) for each in (one, other))
            ident = printable(relative.rpartition(".")[0])
            reason = f"its sidecars {names} would have the same name in the tar"
            return Failure(ident, printable(image.uri), "list", "ValueError", reason)
    member = Member(split(image.name)[1], image.uri, WHOLE, image.size)
    return Listed(relative, member, tuple(fields))
