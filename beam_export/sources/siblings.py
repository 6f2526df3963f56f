"""What files of one directory belong together: sidecars to images, tables and indexes to tars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from beam_export.naming import ParsedName, ShardNames, parse
from beam_export.samples import Failure
from beam_export.sources.entries import (
    Beside,
    Entry,
    Listed,
    Skipped,
    Source,
    join,
    kind_of,
    pair,
    source_kind,
    tar_stem,
)
from beam_export.storage.uris import unpin
from beam_export.text import printable

__all__ = ["Found", "companion_names", "sort_out", "tells_of_others"]

Found = tuple[str, Listed | Source | Beside | Failure | Skipped]
#: How the names of what belongs to a tar go on after its stem: ours, DALI's, img2dataset's.
_ENDS = (".parquet", ".idx", "_stats.json")


def companion_names(tar: str) -> list[str]:
    """Returns the names of the files that may belong to a tar of that name."""
    stem = tar_stem(tar) or tar
    found = parse(tar)
    manifest = [ShardNames(found.hash).manifest] if found is not None else []
    return [*(stem + end for end in _ENDS), *manifest]


def tells_of_others(name: str) -> bool:
    """Tells whether what a file is, or what others of its directory are, may hang together."""
    return source_kind(name) is not None or name.endswith(_ENDS) or parse(name) is not None


def sort_out(files: Iterable[Entry], folder: str) -> Iterator[Found]:
    """Yields what a directory's files are, each with its place: the path that it is sorted by.

    Files of an image's stem are the image's. A Parquet beside a tar of the same stem is the tar's.
    Of an export of ours, and of NeMo Curator, whose files are named alike, a shard that lacks one
    of its two files is a failure.
    """
    images, others = pair(files, folder)
    yield from images
    by_name = {file.name: file for file in others}
    exports = _Exports(by_name)
    taken: dict[str, Source] = {}
    for file in others:
        stem = tar_stem(file.name)
        if stem is not None:
            beside = [by_name[stem + end] for end in _ENDS if stem + end in by_name]
            source = _source("webdataset", file, folder)._replace(companions=tuple(beside))
            taken.update((one.name, source) for one in beside)
            yield join(folder, file.name), exports.unfinished(source) or source
    for file in others:
        place = join(folder, file.name)
        kind = source_kind(file.name)
        if file.name in taken:
            yield place, Beside(taken[file.name])
        elif kind == "webdataset":
            continue
        elif kind is not None:
            source = _source(kind, file, folder)
            yield place, exports.without_tar(source) or source
        else:
            yield place, exports.manifest(file, folder) or Skipped(kind_of(file.name))


def _source(kind: str, file: Entry, folder: str) -> Source:
    return Source(kind, join(folder, file.name), file.uri, file.size)


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
        if self._kinds[found.hash].isdisjoint({"parquet", "manifest"}):
            return None
        return _broken(tar, "the Parquet that describes this shard of an export is not there")

    def without_tar(self, table: Source) -> Failure | None:
        """Returns a failure for a shard's Parquet without its tar, if others have theirs."""
        found = parse(table.name)
        if found is None or "tar" not in self._kinds[found.hash]:
            return None
        return _broken(table, "the tar that this Parquet of an export describes is not there")

    def manifest(self, file: Entry, folder: str) -> Source | None:
        """Returns the manifest of an export that is here, to be held against its shards."""
        found: ParsedName | None = parse(file.name)
        if found is None or "tar" not in self._kinds[found.hash]:
            return None
        here = tuple(Entry(name, "", 0) for _, name in sorted(self._shards[found.hash].items()))
        return _source("webdataset", file, folder)._replace(companions=here)


def _broken(source: Source, reason: str) -> Failure:
    return Failure(
        printable(source.relative), printable(unpin(source.uri)[0]), "list", "BrokenSource", reason
    )
