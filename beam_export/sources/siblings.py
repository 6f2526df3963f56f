"""Groups the files of a directory: sidecars with images, tables and indexes with tars.

A directory is grouped at once (`group_siblings`), or as a listing of many streams by
(`group_listing`).
"""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from beam_export.naming import ShardNames, clean_ext, parse
from beam_export.samples import WHOLE, Failure, Member
from beam_export.sources.entries import (
    IMAGE_SUFFIXES,
    LATER_SUFFIXES,
    Companion,
    Entry,
    Listed,
    ListedItem,
    Skipped,
    Source,
    join,
    skipped_kind,
    source_kind,
    split,
    tar_stem,
)
from beam_export.sources.export_files import (
    CARDS,
    DirectoryExports,
    files_beside_shards,
    signs_of,
    source_of,
)
from beam_export.storage.uris import unpin
from beam_export.text import printable, stored

__all__ = ["Found", "companion_names", "group_listing", "group_siblings"]

#: A path relative to the root, which is sorted by, and the item there.
Found = tuple[str, ListedItem | Companion]
#: Ends of the names of a tar's companions, after its stem: ours, DALI's, img2dataset's.
_ENDS = (".parquet", ".idx", "_stats.json")
#: Before the loose form of a name, which is no name of a file.
_LOOSE = "\0"
#: Suffixes of images that are never the sidecars of others.
_FIRST_SUFFIXES = IMAGE_SUFFIXES - LATER_SUFFIXES


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
    """Returns whether a file is read together with others of its directory, as a tar is."""
    return source_kind(name) is not None or name.endswith(_ENDS) or parse(name) is not None


def group_siblings(
    files: Iterable[Entry], folder: str, signs: Sequence[str] = ()
) -> Iterator[Found]:
    """Yields what a directory's files are, each with the path that it is sorted by.

    Files with the stem of an image, or with its whole name, and something behind are its sidecars.
    A Parquet with the stem of a tar is the tar's. Of an export of ours, and of NeMo Curator, whose
    files are named alike, a shard that lacks one of its two files is a failure.

    >>> files = [Entry(name, f"/in/{name}", 9) for name in ("cat.jpg", "cat.json", "cat.txt")]
    >>> [(path, [field.ext for field in item.fields]) for path, item in group_siblings(files, "in")]
    [('in/cat.jpg', ['json', 'txt'])]

    Args:
        files: of one directory.
        folder: the directory's path relative to the root.
        signs: files below it that may say whose it is (`signs_of`).
    """
    images, others = _pair(files, folder)
    yield from images
    beside = files_beside_shards(others, folder)
    yield from ((one.relative, one) for one in beside.values())
    others = [file for file in others if file not in beside] if beside else others
    by_name = {file.name: file for file in others}
    cards = [one.uri for one in beside if one.name in CARDS]
    exports = DirectoryExports(by_name, folder, (*signs, *cards))
    # Tars first: whether a table is one of its own depends on which tars there are.
    taken: dict[str, Source] = {}
    for file in others:
        stem = tar_stem(file.name)
        if stem is not None:
            companions = [by_name[stem + end] for end in _ENDS if stem + end in by_name]
            source = source_of("webdataset", file, folder)._replace(companions=tuple(companions))
            taken.update((one.name, source) for one in companions)
            # Energon's index, which belongs to it and is not read.
            taken[f"{file.name}.idx"] = source
            item = exports.unfinished(source) or source
            yield join(folder, file.name), exports.wrapped(file, item)
    for file in others:
        place = join(folder, file.name)
        kind = source_kind(file.name)
        if file.name in taken:
            yield place, Companion(taken[file.name])
        elif kind == "webdataset":
            continue
        elif kind is not None:
            source = source_of(kind, file, folder)
            yield place, exports.wrapped(file, exports.without_tar(source) or source)
        else:
            manifest = exports.manifest(file)
            yield place, exports.wrapped(file, manifest or _skipped(file))


def _skipped(file: Entry) -> Skipped:
    return Skipped(skipped_kind(file.name), uri=file.uri)


def _pair(files: Iterable[Entry], folder: str) -> tuple[list[Found], list[Entry]]:
    """Returns a directory's images, each with its sidecars, and all other files."""
    images: list[tuple[str, Entry]] = []
    others: list[Entry] = []
    named = [(*split(file.name), file) for file in files]
    first = {stem for stem, suffix, _ in named if suffix in _FIRST_SUFFIXES}
    for stem, suffix, file in named:
        if suffix in _FIRST_SUFFIXES or (suffix in IMAGE_SUFFIXES and stem not in first):
            images.append((stem, file))
        else:
            others.append(file)
    if not others:  # as in most folders of images, where each step counts
        alone = ((join(folder, file.name), file) for _, file in images)
        return [(place, _with_sidecars(file, place, ())) for place, file in alone], []
    # Files of one directory: names of images, each also in its loose form, and their stems.
    sidecars: dict[str, list[Member]] = {}
    for stem, image in images:
        sidecars.update((name, []) for name in _names_of(stem, image.name))
    rest: list[Entry] = []
    for file in others:
        owner, ext = _owner(file.name, sidecars)
        if owner:
            sidecars[owner].append(Member(ext, file.uri, WHOLE, file.size))
        else:
            rest.append(file)
    return _with_nearest(images, sidecars, folder), rest


def _with_nearest(
    images: Iterable[tuple[str, Entry]], sidecars: Mapping[str, list[Member]], folder: str
) -> list[Found]:
    """Returns images with their sidecars: of one extension, that whose name is the most exact.

    Files that are no image's for that reason come as skipped.
    """
    found: list[Found] = []
    used: set[str] = set()
    beaten: dict[str, Found] = {}
    for stem, image in images:
        place = join(folder, image.name)
        fields: list[Member] = []
        for name in _names_of(stem, image.name):
            taken = {field.ext for field in fields}
            for one in sidecars[name]:
                if one.ext not in taken:
                    fields.append(one)
                    used.add(one.uri)
                else:
                    beaten[one.uri] = place, Skipped(f"(second .{one.ext} of an image)")
        found.append((place, _with_sidecars(image, place, sorted(fields))))
    # Another image of the same stem may have it.
    return [*found, *(one for uri, one in beaten.items() if uri not in used)]


def _names_of(stem: str, name: str) -> tuple[str, ...]:
    """Returns the names that an image's sidecars begin with, the most exact first.

    `cat.jpg.txt` is of `cat.jpg`, and not of `cat.png`; `cat.txt` is of both.
    """
    names = (name, _LOOSE + _loose(name), stem)
    return names if stem.isascii() else (*names, _LOOSE + _loose(stem))


def _loose(name: str) -> str:
    """Returns a name as it is compared where no other is the same: `x.JPG` is `x.jpg` then.

    Names from a Mac have another form of Unicode, too.
    """
    stem, suffix = split(name)
    if suffix in IMAGE_SUFFIXES:
        name = f"{stem}.{suffix}"
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _owner(name: str, owners: Container[str]) -> tuple[str, str]:
    """Returns the stem or name of the image that a file belongs to, and its extension there.

    >>> _owner("cat.clip_embedding.npy", {"cat"}), _owner("cat.jpg.txt", {"cat", "cat.jpg"})
    (('cat', 'clip_embedding.npy'), ('cat.jpg', 'txt'))
    """
    dot = name.rfind(".")
    ext = clean_ext(name[dot + 1 :])
    # A suffix that no member of a tar can have leaves the file to be counted.
    while dot > 0 and ext is not None:
        if name[:dot] in owners:
            return name[:dot], ext
        if (loose := _LOOSE + _loose(name[:dot])) in owners:
            return loose, ext
        if source_kind(name) is not None or parse(name) is not None:
            break
        dot = name.rfind(".", 0, dot)
        ext = clean_ext(name[dot + 1 :])
    return "", ""


def _with_sidecars(image: Entry, relative: str, fields: Sequence[Member]) -> Listed | Failure:
    # They are sorted: `.txt` and `.TXT`, one extension in a tar, are neighbours.
    for one, other in itertools.pairwise(fields):
        if one.ext == other.ext:
            both = (os.path.basename(unpin(each.uri)[0]) for each in (one, other))
            names = " and ".join(map(printable, both))
            ident = stored(relative.rpartition(".")[0])
            reason = f"its sidecars {names} would have the same name in the tar"
            return Failure(
                image_id=ident,
                original_path=stored(unpin(image.uri)[0]),
                stage="list",
                error="ValueError",
                message=reason,
            )
    member = Member(split(image.name)[1], image.uri, WHOLE, image.size)
    return Listed(relative, member, tuple(fields))


def group_listing(files: Iterable[tuple[str, Entry]]) -> Iterator[Found]:
    """Yields what `group_siblings` makes of each directory of a listing, in order of their places.

    Files of one stem are close together in the order of whole paths, so images and their sidecars
    are handed on at once, however many there are. What a tar, a table or an export is depends on
    its whole directory: from the first of them on, the directory is held back to its end.

    Args:
        files: (directory, file) in order of the bytes of whole paths.
    """
    held: list[tuple[str, Entry]] = []
    # By directory, the names that sidecars of what is held may begin with.
    owners: dict[str, set[str]] = {}
    within = ""  # prefix of the paths of all that may belong to what is held
    signs: dict[str, tuple[str, ...]] = {}
    for folder, file in files:
        path = join(folder, file.name)
        if held and not path.startswith(within):
            yield from _grouped(held, signs)
            held, owners = [], {}
        if not held:
            within = path.removesuffix(file.name) + _family(file.name)
        stem, suffix = split(file.name)
        known = owners.setdefault(folder, set())
        begins = []
        if suffix in IMAGE_SUFFIXES:
            known.update(_names_of(stem, file.name))
        elif file.name.count(".") > 1 and not _owner(file.name, known)[0]:
            # Its image may be called by any of its parts, and come later.
            begins.append(file.name.partition(".")[0] + ".")
        if not file.name.isascii():
            begins.append(_in_all_forms(file.name))
        if depends_on_directory(file.name):
            begins.append("")
        for begin in begins:
            prefix = path.removesuffix(file.name) + begin
            within = prefix if within.startswith(prefix) else within
        held.append((folder, file))
    yield from _grouped(held, signs)


def _in_all_forms(name: str) -> str:
    """Returns what a name begins with in each of its forms of Unicode.

    >>> _in_all_forms("caf\u00e9.jpg"), _in_all_forms("\u732b.jpg")
    ('caf', '\u732b.jpg')
    """
    forms = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*forms, strict=False))
    return "".join(letters[0] for letters in same)


def _family(name: str) -> str:
    """Returns the prefix of the names of all files that have the stem of this one."""
    stem, dot, _ = name.rpartition(".")
    # Without a dot there is no stem to share: no name has this prefix.
    return stem + dot if dot else name + "\0"


def _grouped(held: list[tuple[str, Entry]], signs: dict[str, tuple[str, ...]]) -> Iterator[Found]:
    # Of what was held before, too: `_meta` comes before a tar in lower case, and behind `0.tar`.
    signs.update({**signs_of(held), **signs})
    folders: dict[str, list[Entry]] = {}
    for folder, file in held:
        folders.setdefault(folder, []).append(file)
    found = [
        one
        for folder, files in folders.items()
        for one in group_siblings(files, folder, signs.get(folder, ()))
    ]
    return iter(sorted(found, key=lambda one: os.fsencode(one[0])))
