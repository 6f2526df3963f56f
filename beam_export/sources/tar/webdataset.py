"""Groups the members of a tar into WebDataset samples: those with one key belong together.

A member's name is split as webdataset 1.0.2 does (`tariterators.base_plus_ext`): the key is the
path up to the first dot of the last part, the extension is the rest in lower case. Before that,
what `tar -C folder .` and the like put into names is taken off: `./`, a leading `/`, doubled `/`.
Hidden members are passed by. Beyond what webdataset reads, members of a key that do not lie side by
side are one sample as well:

- if no extension comes twice, all of a key's members in the tar are one sample;
- if one does, each run of adjacent members is a sample, and they have the same id, provided that
  each is complete: it has an image, and no extension twice;
- if not, it is not known what belongs together, and the key is one failure.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_export.naming import clean_ext
from beam_export.samples import Failure, Member
from beam_export.sources.entries import IMAGE_SUFFIXES, LATER_SUFFIXES, Skipped, broken_source
from beam_export.sources.hidden import Visible
from beam_export.sources.tar.walk import TarFault, TarItem, TarMember, TarNote, TarOther
from beam_export.text import printable, stored

__all__ = [
    "WebDatasetSample",
    "broken_tar",
    "group_members",
    "image_extension",
    "plain_name",
    "split_member",
]

_PREFERRED = ("jpg", "jpeg", "png", "webp")
#: Members and folders that webdataset passes by (`tariterators.tar_file_iterator`).
_META = re.compile(r"__[^/]*__/|__[^/]*__\Z", re.DOTALL)
#: Key and extension of a name without folders, that is neither hidden nor meta.
_FLAT = re.compile(r"([^/._@][^/.]*)\.([^/]+)", re.DOTALL)
_META_KEY = re.compile(r"(?:.*/)?__[^/]*__", re.DOTALL)
_VISIBLE = Visible()


class WebDatasetSample(NamedTuple):
    """A sample of a tar.

    Attributes:
        key: of the plain name, with surrogates for bytes that are not UTF-8.
        name: of the image's member as it stands in the tar, likewise.
        image: its `ext` is the last part of the extension: `jpg` for `left.jpg` too.
        fields: the other members, by extension.
    """

    key: str
    name: str
    image: Member
    fields: tuple[Member, ...]


class _Part(NamedTuple):
    """A member of a key: parts of one run lie side by side; `lost` if there are no data.

    `folder` is the member's folder as the tar writes it, where that is not the key's: `./a//`.
    """

    run: int
    ext: str
    offset: int
    size: int
    lost: TarOther | None
    folder: str | None = None

    def name_of(self, key: str) -> str:
        """Returns the member's name as it stands in the tar."""
        last = key if self.folder is None else self.folder + key.rpartition("/")[2]
        return f"{last}.{self.ext}"


def plain_name(name: str) -> str:
    """Returns a member's name without `./`, a leading `/` and doubled `/`.

    >>> plain_name("./0.jpg"), plain_name("/0.jpg"), plain_name("a//./b.jpg"), plain_name("../c.x")
    ('0.jpg', '0.jpg', 'a/b.jpg', '../c.x')
    """
    # Nearly all names are plain, and there are millions.
    if name[:1] not in ("/", ".") and "//" not in name and "/./" not in name:
        return name
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def split_member(name: str) -> tuple[str, str] | None:
    """Returns a member's key and its extension as written, or None if it belongs to no sample.

    >>> split_member("a.b/cat.left.jpg"), split_member("a/.hidden")
    (('a.b/cat', 'left.jpg'), None)
    """
    slash = name.rfind("/")
    dot = name.find(".", slash + 1)
    if dot <= slash + 1 or dot == len(name) - 1:
        return None
    return name[:dot], name[dot + 1 :]


def image_extension(exts: Iterable[str]) -> str | None:
    """Returns the extension, of a sample's in lower case, that is its image; None if none is.

    It is the first of `jpg`, `jpeg`, `png`, `webp`, then by name; extensions with inner dots, such
    as `left.jpg`, come later, and those of HEIC, JPEG 2000 and PPM after all others.

    >>> image_extension(["cls", "png", "jpg"]), image_extension(["seg.png", "tif"])
    ('jpg', 'tif')
    >>> image_extension(["txt"])
    """
    ranked = [(rank, ext) for ext in exts if (rank := _image_rank(ext)) is not None]
    return min(ranked)[1] if ranked else None


def _image_rank(ext: str) -> int | None:
    if ext in _PREFERRED:
        return _PREFERRED.index(ext)
    suffix = ext.rpartition(".")[2]
    if suffix not in IMAGE_SUFFIXES:
        return None
    return len(_PREFERRED) + ("." in ext) + 2 * (suffix in LATER_SUFFIXES)


def group_members(
    items: Iterable[TarItem], uri: str, data_uri: str = ""
) -> Iterator[WebDatasetSample | Failure | Skipped | TarNote]:
    """Yields a tar's samples in the order of their first members, and what is left out or lost.

    A tar whose walk ended with a fault gives a failure `BrokenSource`, whose `image_id` is the
    tar's name; the last sample before the fault is a failure too, as members of it may be lost.

    Args:
        items: a whole tar, as `walk_members` yields it.
        uri: of the tar.
        data_uri: of the file that holds the members' data, if that is not the tar.

    >>> names = ("cat.jpg", "cat.txt", "dog.png")
    >>> items = [TarMember(name, 512 * at, 9) for at, name in enumerate(names, 1)]
    >>> for sample in group_members(items, "t.tar"):
    ...     print(sample.key, sample.image.ext, [field.ext for field in sample.fields])
    cat jpg ['txt']
    dog png []
    """
    members = _MembersByKey(uri, data_uri or uri)
    for item in items:
        if (outcome := members.add(item)) is not None:
            yield outcome
    yield from members.samples()


class _Layout(NamedTuple):
    """The roles of the members of a sample, by their extensions; most samples of a tar share one.

    Attributes:
        image: index of the image, or -1.
        suffix: the last part of its extension, in lower case.
        fields: the other members: extension in lower case and index, in order.
        twice: an extension that comes twice, or "".
        foreign: the extension of a field that no member of a shard can have, or "".
    """

    image: int
    suffix: str
    fields: tuple[tuple[str, int], ...]
    twice: str
    foreign: str


@functools.lru_cache(maxsize=1024)
def _layout(exts: tuple[str, ...]) -> _Layout:
    by_ext: dict[str, int] = {}
    twice = ""
    for number, ext in enumerate(exts):
        if by_ext.setdefault(ext.lower(), number) != number:
            twice = twice or ext
    chosen = image_extension(by_ext)
    image = -1 if chosen is None else by_ext.pop(chosen)
    foreign = next((exts[number] for ext, number in by_ext.items() if not clean_ext(ext)), "")
    return _Layout(
        image=image,
        suffix=(chosen or "").rpartition(".")[2],
        fields=tuple(sorted(by_ext.items())),
        twice=twice,
        foreign=foreign,
    )


def _layout_of(parts: list[_Part]) -> _Layout:
    return _layout(tuple([part.ext for part in parts]))


class _MembersByKey:
    """The members of a tar by key; 10^6 samples of three members take some 700 MB."""

    def __init__(self, uri: str, data_uri: str) -> None:
        self._uri, self._data_uri = uri, data_uri
        self._keys: dict[str, list[_Part]] = {}
        self._lossy: set[str] = set()
        self._exts: dict[str, str] = {}
        self._folders: dict[str, str] = {}
        self._run = 0
        self._last = ""
        self._unsure = ""

    def add(self, item: TarItem) -> Failure | Skipped | TarNote | None:
        """Adds an item and returns None, or returns its outcome if it is part of no sample."""
        # Nearly all members are such, and there are millions: none of what follows is about them.
        if type(item) is TarMember and (flat := _FLAT.fullmatch(item.name)) is not None:
            self._add_part(flat[1], flat[2], item, plain=True)
            return None
        # A run ends where an archive does: the next one may go on with the same key.
        if isinstance(item, TarNote):
            self._last = ""
            return item
        if isinstance(item, TarFault):
            self._unsure = self._last
            return broken_tar(item, self._uri)
        name = plain_name(item.name)
        split = split_member(name)
        # Cheap tests first: most members need no regular expression.
        odd = split is None or name.startswith("__") or isinstance(item, TarOther)
        if odd and (reason := _skip_reason(item, name, split)) is not None:
            return Skipped(reason)
        if split is not None:
            if _VISIBLE.hides(name):
                return Skipped("(hidden)")
            self._add_part(*split, item, plain=name is item.name)
        return None

    def _add_part(self, key: str, ext: str, item: TarMember | TarOther, plain: bool) -> None:
        if key != self._last:
            self._run += 1
            self._last = key
        # One string for all members with that extension, of which there may be millions.
        ext = self._exts.setdefault(ext, ext)
        folder = None
        if not plain:
            folder = item.name[: item.name.rfind("/") + 1]
            folder = self._folders.setdefault(folder, folder)
        if isinstance(item, TarMember):
            part = _Part(self._run, ext, item.offset, item.size, None, folder)
        else:
            part = _Part(self._run, ext, item.offset, 0, item, folder)
            self._lossy.add(key)
        self._keys.setdefault(key, []).append(part)

    def samples(self) -> Iterator[WebDatasetSample | Failure | Skipped]:
        """Yields all samples, and frees the members of each."""
        later: list[tuple[int, WebDatasetSample | Failure | Skipped]] = []
        for key in list(self._keys):
            parts = self._keys.pop(key)
            start = parts[0].run
            while later and later[0][0] < start:
                yield heapq.heappop(later)[1]
            for run, outcome in self._outcomes(key, parts):
                # Later runs wait, so that samples come in the order of their first members.
                if run == start:
                    yield outcome
                else:
                    heapq.heappush(later, (run, outcome))
        yield from (outcome for _, outcome in sorted(later))

    def _outcomes(
        self, key: str, parts: list[_Part]
    ) -> list[tuple[int, WebDatasetSample | Failure | Skipped]]:
        """Returns the outcomes of a key's members, each with the run that it begins with."""
        start = parts[0].run
        layout = _layout_of(parts)
        # Before all else: what is left without the lost data could pass for a whole sample.
        if key in self._lossy:
            return [(start, outcome) for outcome in self._lost(key, parts)]
        if key == self._unsure:
            reason = "the tar cannot be read on, so that members of this sample may be missing"
            return [
                (start, self._failure(key=key, part=parts[0], error="Truncated", reason=reason))
            ]
        if layout.image < 0 and _META_KEY.fullmatch(key):
            # Members like `__info__.json` describe a tar.
            return [(start, Skipped("(__x__)")) for _ in parts]
        if not layout.twice:
            return [(start, self._sample(key, parts, layout))]
        runs = [list(run) for _, run in itertools.groupby(parts, key=lambda part: part.run)]
        layouts = [_layout_of(run) for run in runs]
        if all(each.image >= 0 and not each.twice for each in layouts):
            pairs = zip(runs, layouts, strict=True)
            return [(run[0].run, self._sample(key, run, each)) for run, each in pairs]
        twice = printable(layout.twice)
        reason = f"its .{twice} comes twice in the tar, and not in samples that are whole"
        return [
            (start, self._failure(key=key, part=parts[0], error="DuplicateMember", reason=reason))
        ]

    def _lost(self, key: str, parts: list[_Part]) -> list[Failure | Skipped]:
        """Returns the outcomes of a key that has members without data.

        If it has only links and devices, none of them named like an image, it never was a sample.
        """
        lost = [(part, part.lost) for part in parts if part.lost is not None]
        if len(lost) == len(parts) and all(
            other.error == "NotAFile" and _image_rank(part.ext.lower()) is None
            for part, other in lost
        ):
            return [Skipped(f"({other.kind})") for _, other in lost]
        part, other = lost[0]
        reason = f"its .{printable(part.ext)} is a {other.kind}"
        return [self._failure(key=key, part=part, error=other.error, reason=reason)]

    def _failure(self, key: str, part: _Part, error: str, reason: str) -> Failure:
        path = stored(f"{self._uri}#{part.name_of(key)}")
        return Failure(
            image_id=stored(key), original_path=path, stage="list", error=error, message=reason
        )

    def _sample(self, key: str, parts: list[_Part], layout: _Layout) -> WebDatasetSample | Failure:
        if layout.image < 0:
            exts = ", ".join("." + printable(ext) for ext, _ in layout.fields)
            return self._failure(
                key=key, part=parts[0], error="NoImage", reason=f"it has no image, only {exts}"
            )
        if layout.foreign:
            foreign = printable(layout.foreign)
            reason = f"its .{foreign} is not an extension that a member of a shard can have"
            return self._failure(key=key, part=parts[0], error="ValueError", reason=reason)
        image = parts[layout.image]
        fields = [
            Member(ext, self._data_uri, parts[number].offset, parts[number].size)
            for ext, number in layout.fields
        ]
        return WebDatasetSample(
            key=key,
            name=image.name_of(key),
            image=Member(layout.suffix, self._data_uri, image.offset, image.size),
            fields=tuple(fields),
        )


def _skip_reason(
    item: TarMember | TarOther, name: str, split: tuple[str, str] | None
) -> str | None:
    """Returns the kind that a member is skipped as, None if it belongs to a sample."""
    if isinstance(item, TarOther) and item.kind == "directory":
        return "(directory)"
    if _META.match(name):
        return "(__x__)"
    if split is not None:
        return None
    if isinstance(item, TarOther):
        return f"({item.kind})"
    return "(hidden)" if _VISIBLE.hides(name) else "(no extension)"


def broken_tar(fault: TarFault, uri: str) -> Failure:
    """Returns the failure of a tar whose walk ended with a fault."""
    reason = f"the tar cannot be read on from byte {fault.offset}: {fault.reason}"
    name = uri.rstrip("/").rpartition("/")[2]
    return broken_source(name, uri, reason)
