"""What a listing finds, by file names alone: images, tars, tables, and the failure of a source."""

from __future__ import annotations

import os
from typing import NamedTuple

from beam_export.naming import clean_ext
from beam_export.samples import SOURCE_CHANGED, Failure, Member
from beam_export.storage.registry import ReplacedError
from beam_export.storage.retry import is_permanent
from beam_export.storage.uris import pin_file, unpin
from beam_export.text import printable

__all__ = [
    "IMAGE_SUFFIXES",
    "BrokenSourceError",
    "Companion",
    "Entry",
    "Item",
    "Listed",
    "Skipped",
    "Source",
    "broken_source",
    "join",
    "kind_of",
    "local_entry",
    "source_kind",
    "split",
    "tar_stem",
    "unreadable_source",
]

#: Of the formats of format.md, part 5.
IMAGE_SUFFIXES = frozenset(
    {
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "tif", "tiff"),
        *("bmp", "dib", "avif"),
    }
)

#: Suffixes of files that hold many samples, by their kind.
_SOURCES = {
    "webdataset": (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"),
    "parquet": (".parquet",),
    "table": (".csv", ".tsv", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".jsonl.gz"),
}


class Listed(NamedTuple):
    """An image file: its path relative to the root, the image itself, and its sidecars."""

    relative: str
    image: Member
    fields: tuple[Member, ...]


class Entry(NamedTuple):
    """A file of a directory: its name, its pinned URI, its size in bytes."""

    name: str
    uri: str
    size: int


class Source(NamedTuple):
    """A file that holds many samples.

    Attributes:
        kind: `webdataset` (a tar), `parquet`, or `table` (CSV, JSONL).
        relative: its path relative to the root.
        uri: of the file, pinned.
        size: in bytes.
        order: prefix of the order keys of its samples: its place among all inputs.
        companions: files that belong to a tar; of an export's manifest, the shards that are there.
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
    def path(self) -> str:
        """The path of the file: its URI without the pin."""
        return unpin(self.uri)[0]

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


class Companion(NamedTuple):
    """A file that belongs to a tar, and is read with it.

    Attributes:
        tar: that it belongs to.
    """

    tar: Source


class Skipped(NamedTuple):
    """A file that is not exported, by its kind: a suffix, or a few words in brackets."""

    kind: str


#: What a listing yields: what is read, what is lost, what is left out.
Item = Listed | Source | Failure | Skipped


class BrokenSourceError(Exception):
    """A source cannot be read to its end; the text says why, in one clause."""


def broken_source(name: str, path: str, reason: str, error: str = "BrokenSource") -> Failure:
    """Returns the failure that stands for all samples of a source that cannot be read to its end.

    Args:
        name: of the source: the `image_id` of the failure.
        path: of the source, without a pin.
        reason: one clause.
        error: class of the failure.
    """
    return Failure(
        image_id=printable(name),
        original_path=printable(path),
        stage="list",
        error=error,
        message=printable(reason),
    )


def unreadable_source(name: str, path: str, what: str, error: OSError) -> Failure:
    """Returns the failure of a source that an OSError keeps from being read.

    Args:
        name: of the source.
        path: of the source, without a pin.
        what: the source in words: `the table`.
        error: that was raised.

    Raises:
        OSError: `error` itself, if the source may be readable at another time.
    """
    if isinstance(error, ReplacedError):
        reason = f"{what} has been replaced since it was listed"
        return broken_source(name, path, reason, error=SOURCE_CHANGED)
    if not is_permanent(error):
        raise error
    return broken_source(name, path, f"{what} cannot be read: {error.strerror}")


def local_entry(name: str, path: str, status: os.stat_result) -> Entry:
    """Returns a file of this machine, pinned to its present size and modification time."""
    size = status.st_size
    return Entry(name, pin_file(path, size, status.st_mtime_ns), size)


def join(folder: str, name: str) -> str:
    """Returns the relative path of `name` in a directory; `""` is the root.

    >>> join("a/b", "cat.jpg"), join("", "cat.jpg")
    ('a/b/cat.jpg', 'cat.jpg')
    """
    return f"{folder}/{name}" if folder else name


def split(name: str) -> tuple[str, str]:
    """Returns a name's stem and its suffix, in lower case and without the dot.

    >>> split("a/cat.JPG"), split("README")
    (('a/cat', 'jpg'), ('README', ''))
    """
    stem, dot, suffix = name.rpartition(".")
    return (stem, suffix.lower()) if dot else (name, "")


def kind_of(name: str) -> str:
    """Returns the kind that a skipped file is counted under; odd suffixes share one.

    >>> kind_of("notes.TXT"), kind_of("x.a-b"), kind_of("README")
    ('.txt', '(other suffix)', '(no suffix)')
    """
    suffix = split(name)[1]
    if not suffix:
        return "(no suffix)"
    return f".{suffix}" if clean_ext(suffix) else "(other suffix)"


def tar_stem(name: str) -> str | None:
    """Returns the name of a tar without its suffix, such as `.tar.gz`; None if it is no tar."""
    lower = name.lower()
    return next((name[: -len(end)] for end in _SOURCES["webdataset"] if lower.endswith(end)), None)


def source_kind(name: str) -> str | None:
    """Returns the kind of `Source` of a file of that name, None if it is none.

    >>> source_kind("train-0001.TAR.gz"), source_kind("labels.tsv"), source_kind("cat.jpg")
    ('webdataset', 'table', None)
    """
    lower = name.lower()
    return next((kind for kind, ends in _SOURCES.items() if lower.endswith(ends)), None)
