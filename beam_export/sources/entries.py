"""The items of a listing, told apart by file names: images, tars, tables; and failed sources."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from beam_export.naming import clean_ext
from beam_export.samples import SOURCE_CHANGED, Failure, Member
from beam_export.storage.base import ReplacedError
from beam_export.storage.retry import is_permanent
from beam_export.storage.uris import pin_file, unpin
from beam_export.text import printable, stored

__all__ = [
    "FOLDER_TABLES",
    "IMAGE_SUFFIXES",
    "LATER_SUFFIXES",
    "BrokenSourceError",
    "Companion",
    "Entry",
    "Exported",
    "FolderTable",
    "Item",
    "Listed",
    "ListedItem",
    "Skipped",
    "Source",
    "SourceKind",
    "broken_source",
    "join",
    "local_entry",
    "skipped_kind",
    "source_kind",
    "split",
    "tar_stem",
    "unreadable_source",
]

#: Images that travel with another image of their stem, if there is one: a phone's second copy, a
#: depth map.
LATER_SUFFIXES = frozenset(
    {
        *("heic", "heif", "hif", "jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
        *("ppm", "pgm", "pbm", "pnm"),
    }
)
#: Of the formats of format.md, part 5.
IMAGE_SUFFIXES = LATER_SUFFIXES | {
    *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "tif", "tiff"),
    *("bmp", "dib", "avif"),
}

#: Kinds of files that hold many samples. What depends on the kind matches all of them, and ends in
#: `assert_never`: mypy names each place that does not know a new kind.
SourceKind = Literal["webdataset", "parquet", "table"]

#: Names of the tables that Hugging Face's imagefolder has beside images.
FOLDER_TABLES = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
#: Suffixes of files that hold many samples, by their kind.
_SOURCES: dict[SourceKind, tuple[str, ...]] = {
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
    """A file of a directory.

    Attributes:
        name: in the directory.
        uri: of the file, pinned.
        size: in bytes.
        owner: the mark of the run of ours that wrote it, where the storage keeps marks.
    """

    name: str
    uri: str
    size: int
    owner: str = ""


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

    kind: SourceKind
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
        # Between workers they travel as plain tuples. A manifest has names alone, without URIs.
        files = (Entry(*one) for one in self.companions)
        return next((one for one in files if one.name.endswith(end) and one.uri), None)


class Companion(NamedTuple):
    """A file that belongs to a tar, and is read with it.

    Attributes:
        tar: that it belongs to.
    """

    tar: Source


class FolderTable(NamedTuple):
    """A table that lies in a folder of images, and may name them (`--metadata=auto`).

    Attributes:
        source: the table.
        others: names of such tables in the same folder: of several, none is taken.
        near: whether the input names images of the folder alone, and not the table: a glob of
            `*.jpg`, or a single file.
    """

    source: Source
    others: tuple[str, ...] = ()
    near: bool = False


class Skipped(NamedTuple):
    """A file that is not exported, by its kind: a suffix, or a few words in brackets.

    Attributes:
        kind: what it is counted as.
        table: the file, if it is a table beside image files.
        uri: of the file, pinned, if it may be one that a flag names.
    """

    kind: str
    table: Source | None = None
    uri: str = ""


class Exported(NamedTuple):
    """A file that may be one of an export of ours, finished or not: what others hold shows it.

    Attributes:
        relative: its path relative to the root.
        item: what it is read as; None if the input does not name it, and it only shows whose
            others are.
        proofs: URIs of files of the same export, pinned: if one says that this tool wrote it, the
            file is of an export. Without any, it is if its directory is shown to be one's.
        home: the directory of that export, relative to the root.
        hash: in the names of the export's files; empty for a file that has none in its name.
        marked: whether its storage says that a run of ours wrote it.
        tar_bytes: the size that one of the proofs must state of its tar; 0 if any will do.
        beside: URIs of files that show whose the directory is, pinned: if one says that this tool
            wrote it, a tar that is written as ours are is one of an export, whatever its name.
        content: URI of the file itself, pinned, if its directory does not do: it must say so too.
    """

    relative: str
    item: Source | Failure | Skipped | None
    proofs: tuple[str, ...]
    home: str
    hash: str = ""
    marked: bool = False
    tar_bytes: int = 0
    beside: tuple[str, ...] = ()
    content: str = ""


#: What an input holds: what is read, what is lost, what is left out.
Item = Listed | Source | FolderTable | Failure | Skipped
#: What a listing yields, before it is known whether exports are read.
ListedItem = Item | Exported


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
        image_id=stored(name),
        original_path=stored(path),
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


def skipped_kind(name: str) -> str:
    """Returns the kind that a skipped file is counted under; odd suffixes share one.

    >>> skipped_kind("notes.TXT"), skipped_kind("x.a b"), skipped_kind("README")
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


def source_kind(name: str) -> SourceKind | None:
    """Returns the kind of `Source` of a file of that name, None if it is none.

    >>> source_kind("train-0001.TAR.gz"), source_kind("labels.tsv"), source_kind("cat.jpg")
    ('webdataset', 'table', None)
    """
    lower = name.lower()
    return next((kind for kind, ends in _SOURCES.items() if lower.endswith(ends)), None)
