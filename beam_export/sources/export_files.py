"""Finds the files of a directory that may be of an export of ours, and what would show that.

Names only say where to look: shards may have been renamed, and other tools name theirs alike.
`own_exports` opens the files that are named as proofs here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from beam_export.naming import ParsedName, is_temporary, parse, says_whose
from beam_export.samples import Failure
from beam_export.sources.entries import (
    Entry,
    Exported,
    Skipped,
    Source,
    SourceKind,
    broken_source,
    join,
    skipped_kind,
    source_kind,
    tar_stem,
)

__all__ = ["CARDS", "SIGNED", "DirectoryExports", "files_beside_shards", "signs_of", "source_of"]

#: What an export has beside its shards, under names that say nothing of it: some say so inside.
CARDS = frozenset({"README.md", "sizes.json"})
_BESIDE = CARDS | {"nshards.txt"}
#: Directories whose files may say whose the one above is.
SIGNED = ("_meta", "_tmp")
#: Parquet files of one kind of name that are asked whether they are ours, as some may be damaged.
_ASKED = 3
#: Parquet files that are asked for the size of a tar that has another name.
_MOST_ASKED = 1_000
#: Files of `_meta` and `_tmp` that are asked whose a tar beside those is.
_MOST_SIGNS = 100
_DIGITS = re.compile(r"[0-9]+")


def source_of(kind: SourceKind, file: Entry, folder: str) -> Source:
    """Returns a file of a directory as a source of samples."""
    return Source(kind=kind, relative=join(folder, file.name), uri=file.uri, size=file.size)


def files_beside_shards(files: Iterable[Entry], folder: str) -> dict[Entry, Exported]:
    """Returns the files that may be an export's own, and are not named as its shards are.

    Args:
        files: of a directory.
        folder: the directory's path relative to the root.
    """
    home, inner = _within_export(folder)
    found: dict[Entry, Exported] = {}
    for file in files:
        if not inner and file.name not in _BESIDE:
            continue
        name = join(inner, file.name)
        parsed = parse(name) if inner else None
        named = parsed is not None or is_temporary(name) or says_whose(name)
        if not named and file.name not in _BESIDE:
            continue
        kind = source_kind(file.name)
        skipped = Skipped(skipped_kind(file.name))
        found[file] = Exported(
            relative=join(folder, file.name),
            item=skipped if kind is None else source_of(kind, file, folder),
            proofs=(file.uri,) if says_whose(name) else (),
            home=home,
            hash=parsed.hash if parsed is not None else "",
            marked=bool(file.owner),
        )
    return found


def signs_of(files: Iterable[tuple[str, Entry]]) -> dict[str, tuple[str, ...]]:
    """Returns the files of `_meta` and `_tmp` that may say whose the directory above them is.

    Args:
        files: (directory relative to the root, file).

    Returns:
        Their URIs, by that directory.
    """
    found: dict[str, list[str]] = {}
    for folder, file in files:
        home, inner = _within_export(folder)
        if inner and says_whose(join(inner, file.name)):
            found.setdefault(home, []).append(file.uri)
    return {home: tuple(sorted(uris)[:_MOST_SIGNS]) for home, uris in found.items()}


def _within_export(folder: str) -> tuple[str, str]:
    """Returns the directory of the export that a directory would be of, and its path in there.

    >>> _within_export("a/_tmp/0"), _within_export("_meta"), _within_export("a/b")
    (('a', '_tmp/0'), ('', '_meta'), ('a/b', ''))
    """
    parts = folder.split("/")
    for depth, name in ((1, "_meta"), (1, "_tmp"), (2, "_tmp")):
        if parts[-depth:][:1] == [name] and len(parts) >= depth:
            return "/".join(parts[:-depth]), "/".join(parts[-depth:])
    return folder, ""


class DirectoryExports:
    """The files of exports that a directory holds.

    Args:
        files: of the directory, by name.
        folder: the directory's path relative to the root.
        signs: URIs of files that may say whose it is: in its `_meta` and `_tmp` (`signs_of`), and
            its card.
    """

    def __init__(self, files: Mapping[str, Entry], folder: str, signs: Sequence[str] = ()) -> None:
        self._folder = folder
        self._kinds: dict[str, set[str]] = {}
        self._shards: dict[str, dict[int, str]] = {}
        self._manifests: dict[str, list[str]] = {}
        # URIs of Parquet files: by the hash in their names, else by their names without digits.
        self._tables: dict[str, list[str]] = {}
        # Of those, the ones without a tar of their name.
        alone: list[str] = []
        tars = {tar_stem(name) for name in files}
        for name, file in files.items():
            found = _parse_shard_file(name)
            if found is not None:
                self._kinds.setdefault(found.hash, set()).add(found.kind)
                if found.number is not None:
                    self._shards.setdefault(found.hash, {})[found.number] = name
            named = parse(name)
            if named is not None and named.kind in ("manifest", "wids"):
                self._manifests.setdefault(named.hash, []).append(file.uri)
            if name.endswith(".parquet"):
                self._tables.setdefault(_group(name), []).append(file.uri)
                if name.removesuffix(".parquet") not in tars:
                    alone.append(file.uri)
        self._alone = tuple(sorted(alone)[:_MOST_ASKED])
        manifests = sorted(uri for found in self._manifests.values() for uri in found)
        self._beside = (*manifests[:_MOST_SIGNS], *signs)

    def wrapped(
        self, file: Entry, item: Source | Failure | Skipped
    ) -> Source | Failure | Skipped | Exported:
        """Returns what a file is, as `Exported` if it may be of an export."""
        found = parse(file.name)
        size = 0
        beside: tuple[str, ...] = ()
        if found is not None:
            proofs = self._asked(found.hash) + tuple(self._manifests.get(found.hash, ()))
            beside = self._beside if found.kind == "tar" and not proofs else ()
        elif isinstance(item, Source) and item.parquet is not None:
            proofs = self._asked(_group(item.parquet.name))
        elif isinstance(item, Source) and item.kind == "webdataset":
            # Its Parquet may have another name.
            proofs, size, beside = self._alone, item.size, self._beside
        else:
            proofs = ()
        # A manifest or an index that was renamed: what else is called so is somebody else's.
        renamed = found is None and isinstance(item, Skipped) and file.name.endswith(".json")
        content = file.uri if renamed and self._tables else ""
        if not (proofs or beside or content or found is not None or file.owner):
            return item
        return Exported(
            relative=join(self._folder, file.name),
            item=item,
            proofs=proofs,
            home=self._folder,
            hash=found.hash if found is not None else "",
            marked=bool(file.owner),
            tar_bytes=size,
            beside=beside,
            content=content,
        )

    def _asked(self, group: str) -> tuple[str, ...]:
        return tuple(sorted(self._tables.get(group, ()))[:_ASKED])

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

    def manifest(self, file: Entry) -> Source | None:
        """Returns the manifest of an export, with the shards in this directory as companions."""
        found = _parse_shard_file(file.name)
        if found is None or "tar" not in self._kinds[found.hash]:
            return None
        # Names alone: nothing but what is missing is asked of them (`missing_shards`).
        files = tuple(Entry(name, "", 0) for _, name in sorted(self._shards[found.hash].items()))
        return source_of("webdataset", file, self._folder)._replace(companions=files)


def _group(name: str) -> str:
    """Returns what the files of one export have in common in their names.

    >>> _group("images-0123456789ab-000007.parquet"), _group("train-12.parquet")
    ('0123456789ab', 'train-#.parquet')
    """
    found = parse(name)
    return _DIGITS.sub("#", name) if found is None else found.hash


def _parse_shard_file(name: str) -> ParsedName | None:
    """Returns what the name of a shard's file or of a manifest says, None for all others."""
    found = parse(name)
    return found if found is not None and found.kind in ("tar", "parquet", "manifest") else None
