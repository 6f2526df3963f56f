"""Groups the files of a directory: sidecars with images, tables and indexes with tars.

A directory is grouped at once (`group_siblings`), or as a listing of many streams by
(`group_listing`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator

from beam_export.naming import ParsedName, ShardNames, clean_ext, parse
from beam_export.samples import WHOLE, Failure, Member
from beam_export.sources.entries import (
    IMAGE_SUFFIXES,
    Companion,
    Entry,
    Item,
    Listed,
    Skipped,
    Source,
    broken_source,
    join,
    kind_of,
    source_kind,
    split,
    tar_stem,
)
from beam_export.storage.uris import unpin
from beam_export.text import printable

__all__ = ["Found", "companion_names", "group_listing", "group_siblings"]

#: A path relative to the root, which is sorted by, and the item there.
Found = tuple[str, Item | Companion]
#: Ends of the names of a tar's companions, after its stem: ours, DALI's, img2dataset's.
_ENDS = (".parquet", ".idx", "_stats.json")


def companion_names(tar: str) -> list[str]:
    """Returns the names of the files that may belong to a tar of that name.

    >>> companion_names("train-0.tar.gz")
    ['train-0.parquet', 'train-0.idx', 'train-0_stats.json']
    """
    stem = tar_stem(tar) or tar
    found = parse(tar)
    manifest = [ShardNames(found.hash).manifest] if found is not None else []
    return [*(stem + end for end in _ENDS), *manifest]


def depends_on_directory(name: str) -> bool:
    """Returns whether what a file is may depend on others of its directory, or theirs on it."""
    return source_kind(name) is not None or name.endswith(_ENDS) or parse(name) is not None


def group_siblings(files: Iterable[Entry], folder: str) -> Iterator[Found]:
    """Yields what a directory's files are, each with the path that it is sorted by.

    Files with the stem of an image are its sidecars. A Parquet with the stem of a tar is the tar's.
    Of an export of ours, and of NeMo Curator, whose files are named alike, a shard that lacks one
    of its two files is a failure.

    >>> files = [Entry(name, f"/in/{name}", 9) for name in ("cat.jpg", "cat.json", "cat.txt")]
    >>> [(path, [field.ext for field in item.fields]) for path, item in group_siblings(files, "in")]
    [('in/cat.jpg', ['json', 'txt'])]

    Args:
        files: of one directory.
        folder: the directory's path relative to the root.
    """
    images, others = _pair(files, folder)
    yield from images
    by_name = {file.name: file for file in others}
    exports = _Exports(by_name)
    # Tars first: whether a table is one of its own depends on which tars there are.
    taken: dict[str, Source] = {}
    for file in others:
        stem = tar_stem(file.name)
        if stem is not None:
            companions = [by_name[stem + end] for end in _ENDS if stem + end in by_name]
            source = _source("webdataset", file, folder)._replace(companions=tuple(companions))
            taken.update((one.name, source) for one in companions)
            yield join(folder, file.name), exports.unfinished(source) or source
    for file in others:
        place = join(folder, file.name)
        kind = source_kind(file.name)
        if file.name in taken:
            yield place, Companion(taken[file.name])
        elif kind == "webdataset":
            continue
        elif kind is not None:
            source = _source(kind, file, folder)
            yield place, exports.without_tar(source) or source
        else:
            yield place, exports.manifest(file, folder) or Skipped(kind_of(file.name))


def _pair(
    files: Iterable[Entry], folder: str
) -> tuple[list[tuple[str, Listed | Failure]], list[Entry]]:
    """Returns a directory's images, each with the files of its stem, and all other files."""
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
        # A suffix that no member of a tar can have leaves the file to be counted.
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
    # They are sorted: `.txt` and `.TXT`, one extension in a tar, are neighbours.
    for one, other in itertools.pairwise(fields):
        if one.ext == other.ext:
            both = (os.path.basename(unpin(each.uri)[0]) for each in (one, other))
            names = " and ".join(map(printable, both))
            ident = printable(relative.rpartition(".")[0])
            reason = f"its sidecars {names} would have the same name in the tar"
            return Failure(
                image_id=ident,
                original_path=printable(unpin(image.uri)[0]),
                stage="list",
                error="ValueError",
                message=reason,
            )
    member = Member(split(image.name)[1], image.uri, WHOLE, image.size)
    return Listed(relative, member, tuple(fields))


def _source(kind: str, file: Entry, folder: str) -> Source:
    return Source(kind=kind, relative=join(folder, file.name), uri=file.uri, size=file.size)


class _Exports:
    """The shards of exports that a directory holds, by their names."""

    def __init__(self, names: Iterable[str]) -> None:
        self._kinds: dict[str, set[str]] = {}
        self._shards: dict[str, dict[int, str]] = {}
        for name in names:
            found = parse(name)
            if found is not None:
                self._kinds.setdefault(found.hash, set()).add(found.kind)
                if found.number is not None:
                    self._shards.setdefault(found.hash, {})[found.number] = name

    def unfinished(self, tar: Source) -> Failure | None:
        """Returns a failure for a shard without its Parquet, if others have theirs."""
        found = parse(tar.name)
        if found is None or tar.parquet is not None:
            return None
        # Then nothing says that it ever had one: other tools name their tars alike.
        if self._kinds[found.hash].isdisjoint({"parquet", "manifest"}):
            return None
        reason = "the Parquet that describes this shard of an export is not there"
        return broken_source(tar.relative, tar.path, reason)

    def without_tar(self, table: Source) -> Failure | None:
        """Returns a failure for a shard's Parquet without its tar, if others have theirs."""
        found = parse(table.name)
        if found is None or "tar" not in self._kinds[found.hash]:
            return None
        reason = "the tar that this Parquet of an export describes is not there"
        return broken_source(table.relative, table.path, reason)

    def manifest(self, file: Entry, folder: str) -> Source | None:
        """Returns the manifest of an export, with the shards in this directory as companions."""
        found: ParsedName | None = parse(file.name)
        if found is None or "tar" not in self._kinds[found.hash]:
            return None
        # Names alone: nothing but what is missing is asked of them (`missing_shards`).
        here = tuple(Entry(name, "", 0) for _, name in sorted(self._shards[found.hash].items()))
        return _source("webdataset", file, folder)._replace(companions=here)


def group_listing(files: Iterable[tuple[str, Entry]]) -> Iterator[Found]:
    """Yields what `group_siblings` makes of each directory of a listing, in order of their places.

    Files of one stem are close together in the order of whole paths, so images and their sidecars
    are handed on at once, however many there are. What a tar, a table or an export is depends on
    its whole directory: from the first of them on, the directory is held back to its end.

    Args:
        files: (directory, file) in order of the bytes of whole paths.
    """
    held: list[tuple[str, Entry]] = []
    within = ""  # prefix of the paths of all that may belong to what is held
    for folder, file in files:
        path = join(folder, file.name)
        if held and not path.startswith(within):
            yield from _grouped(held)
            held = []
        if not held:
            within = _family(path)
        if depends_on_directory(file.name):
            directory = join(folder, "")
            within = directory if within.startswith(directory) else within
        held.append((folder, file))
    yield from _grouped(held)


def _family(path: str) -> str:
    """Returns the prefix of the paths of all files that have the stem of this one."""
    folder, slash, name = path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    # Without a dot there is no stem to share: no path has this prefix.
    return folder + slash + stem + dot if dot else path + "\0"


def _grouped(held: list[tuple[str, Entry]]) -> Iterator[Found]:
    folders: dict[str, list[Entry]] = {}
    for folder, file in held:
        folders.setdefault(folder, []).append(file)
    found = [one for folder, files in folders.items() for one in group_siblings(files, folder)]
    return iter(sorted(found, key=lambda one: os.fsencode(one[0])))
