"""Checks the content of a tar's members: images can be decoded, `.json` and `.txt` fit the columns.

The keys of a `.json` became columns while the export was planned (`sources.json_metadata`), each
with the type that holds all its values. So a member's values are converted to the columns' types
just as the writer did, and must then equal the row's. Whether columns were made so is known from
the run's own facts (`run.json`); where it is not, a difference is noted and no fault.
"""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from beam_export.errors import InputError, SampleError
from beam_export.images import watch
from beam_export.images.encoder import EncodeSpec
from beam_export.images.header import lift_guards, silence_pillow
from beam_export.images.jpeg.segments import frame_components
from beam_export.images.probe import probe_pixels
from beam_export.images.transcode import lacks_of_jpeg
from beam_export.metadata import canonical
from beam_export.metadata.columns import ColumnChoice, choice_of, is_named, names_given
from beam_export.metadata.to_arrow import ColumnBuilder, to_values
from beam_export.samples import MISSING_CODEC
from beam_export.shards.json_member import json_of_row
from beam_export.shards.manifest import FROM_JSON
from beam_export.shards.parquet import ShardRow, stored_values
from beam_export.shards.undecodable import cannot_decode, is_decoded
from beam_export.sources.entries import IMAGE_SUFFIXES
from beam_export.sources.json_metadata import MAX_JSON, parsed_json
from beam_export.sources.tar.webdataset import split_member
from beam_export.verify.findings import Faults
from beam_export.verify.shard_tar import StrictSample

__all__ = [
    "MISFIT",
    "ImageCheck",
    "MemberCheck",
    "Origin",
    "ext_of",
    "fitted",
    "origin_of",
    "renamed_of",
    "same",
]

#: Samples, and bytes of JSON, that are compared at once.
_AT_ONCE = 1_000
_BYTES = 4 << 20
#: In place of a value that its column cannot hold.
MISFIT = object()

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


class ImageCheck:
    """Decodes images within the limits of the export."""

    def __init__(
        self,
        max_pixels: int,
        max_image_bytes: int,
        damaged: str = "fail",
        ensure: tuple[str, ...] = (),
    ) -> None:
        self._ensure = ensure
        self._spec = EncodeSpec(
            mode="never",
            max_pixels=max_pixels,
            max_image_bytes=max_image_bytes,
            damaged=damaged,
        )

    def open(self) -> None:
        """Sets up Pillow, once per process."""
        lift_guards(self._spec.max_pixels)
        silence_pillow()
        watch.begin()

    def wants(self, name: str, size: int) -> bool:
        """Returns whether a member is an image within the limit of bytes."""
        split = split_member(name)
        suffix = split[1].rpartition(".")[2].lower() if split else ""
        return suffix in IMAGE_SUFFIXES and size <= self._spec.max_image_bytes

    def problems(
        self, name: str, data: bytes, width: int | None, height: int | None
    ) -> Iterator[str]:
        """Yields what is wrong with an image of an export of ours.

        Args:
            name: of its member.
            data: its bytes.
            width, height: what its row says; None if it could not be read when it was stored.
        """
        if width is None or height is None:
            # `--encode=never` stores what nobody could read, and says so by having no size.
            return
        try:
            found = probe_pixels(data, self._spec)
        except SampleError as error:
            _refuse_missing(error, name)
            yield f"it cannot be decoded ({error.message})"
            return
        if (found.width, found.height) != (width, height):
            yield (
                f"it has {found.width} x {found.height} pixels, and its row says {width} x {height}"
            )
        ext = name.rpartition(".")[2]
        if found.format != {"jpeg": "jpg", "tif": "tiff"}.get(ext, ext):
            yield f"its content is {found.format}, and its name says {ext}"
        if self._ensure:
            lacks = lacks_of_jpeg(data, gray=frame_components(data) == 1)
            if missing := [word for word in self._ensure if word in lacks]:
                yield f"it is not {' and '.join(missing)}, which --ensure asked for"

    def fault(self, data: bytes) -> str | None:
        """Returns why an image cannot be decoded, or None if it can."""
        try:
            probe_pixels(data, self._spec)
        except SampleError as error:
            _refuse_missing(error, "an image")
            return error.message
        return None


def _refuse_missing(error: SampleError, name: str) -> None:
    """Raises InputError if an image may be sound, and a library that reads it is not installed."""
    if error.error == MISSING_CODEC:
        raise InputError(
            f"verify --decode cannot decode {name}: {error.message}; or leave --decode out."
        )


class Origin(NamedTuple):
    """The sources of columns and members, as far as they are known.

    Attributes:
        json: whether the columns of samples with a `.json` were made of its keys.
        alone: whether such samples have no other columns.
        caption: the column that each `.txt` was made of, if they were.
        others: columns that were made of something else.
        sized: whether every image has a width and a height.
        choice: columns that were left out, or made text.
        json_columns: names, as given, of columns that each sample has as JSON too; None if that is
            not known.
    """

    json: bool = False
    alone: bool = False
    caption: str | None = None
    others: frozenset[str] = frozenset()
    sized: bool = False
    choice: ColumnChoice = ColumnChoice()
    json_columns: tuple[str, ...] | None = None


def origin_of(manifest: Mapping[str, Any] | None, run: Mapping[str, Any] | None) -> Origin:
    """Returns what the manifest and the run's own facts say; nothing is known without them."""
    if manifest is None:
        return Origin()
    options: Mapping[str, Any] = manifest["options"]
    joined = any(step.get("step") == "join" for step in manifest["steps"])
    caption = options.get("caption_column")
    others = [name for name in ("label", "cls", "split") if options.get(_MADE_BY[name])]
    if caption == "split" and "split" in others:
        # It was made before the column took its name.
        caption = "input_split"
    choice = choice_of(options)
    given = options.get("json_columns")
    return Origin(
        # Where all columns are left out, no .json was read.
        json=(run or {}).get(FROM_JSON) is True and not choice.drops_all,
        alone=not joined,
        caption=caption if isinstance(caption, str) else None,
        others=frozenset(others),
        sized=options.get("encode") in ("auto", "always"),
        choice=choice,
        json_columns=names_given(given if isinstance(given, str) else None),
    )


def renamed_of(metadata: Mapping[str, Any], made: Collection[str]) -> Mapping[str, Any]:
    """Returns metadata with the names that its columns have beside those that were made.

    >>> renamed_of({"label": 1, "a": 2}, {"label", "cls"})
    {'input_label': 1, 'a': 2}
    """
    if not made:
        return metadata
    return {f"input_{name}" if name in made else name: one for name, one in metadata.items()}


_MADE_BY = {"label": "labels", "cls": "labels", "split": "split"}


class MemberCheck:
    """Compares the members of one shard with its columns.

    Attributes:
        differing: samples whose `.json` differs from columns that need not be made of it.
        undecodable: members that loaders cannot decode, by what `cannot_decode` names them: how
            many, and the first.
        example: the first difference of those, in words.
        json_member: extension of the member that was made of columns; empty without.
    """

    def __init__(
        self, columns: pa.Schema, origin: Origin, file: str, faults: Faults, json_member: str = ""
    ) -> None:
        """Starts with no samples.

        Args:
            columns: the metadata columns of the shard's Parquet.
            origin: what they are known to be made of.
            file: name of the Parquet, for the faults.
            faults: gets what is found.
            json_member: extension of the member that was made of columns, by the Parquet.
        """
        self.json_member = json_member
        names = origin.json_columns
        self._json_columns = [one for one in columns if is_named(names or (), one.name)]
        if names and not json_member:
            faults.add(file, "it does not say which member --json_columns has made")
        elif json_member and names == ():
            problem = f"its .{json_member} is said to be made of columns, and none is to be"
            faults.add(file, problem)
        fields = [field for field in columns if field.name not in origin.others]
        self._builders = {one.name: ColumnBuilder(one.with_nullable(True)) for one in fields}
        # Of all columns, those not compared too: a key of theirs has its column.
        self._names = frozenset(columns.names)
        self._origin, self._file, self._faults = origin, file, faults
        self._held: list[tuple[ShardRow, bytes]] = []
        self._bytes = 0
        self.differing, self.example = 0, ""
        self.undecodable: dict[str, tuple[int, str]] = {}

    @staticmethod
    def wants(name: str, size: int) -> bool:
        """Returns whether a member's data are needed."""
        ext = ext_of(name)
        return size <= MAX_JSON and (ext == "json" or is_decoded(ext))

    def add(self, sample: StrictSample, row: ShardRow) -> None:
        """Adds a sample and its row; JSON is compared later, many at once."""
        if self._origin.caption is not None:
            self._check_caption(sample, row, self._origin.caption)
        if self.json_member and self._json_columns:
            self._check_json_member(sample, row)
        for member in sample.members[1:]:
            if member.data is None:
                continue
            ext = ext_of(member.name)
            if cannot := cannot_decode(ext, member.data):
                count, first = self.undecodable.get(cannot, (0, member.name))
                self.undecodable[cannot] = count + 1, first
            if ext == "json" != self.json_member:
                self._held.append((row, member.data))
                self._bytes += member.size
        if len(self._held) >= _AT_ONCE or self._bytes >= _BYTES:
            self.flush()

    def flush(self) -> None:
        """Compares the JSON that was added since the last time."""
        held, self._held, self._bytes = self._held, [], 0
        rows: list[ShardRow] = []
        contents: list[Mapping[str, Any]] = []
        for row, data in held:
            content = _content(data)
            if content is not None:
                rows.append(row)
                chosen = self._origin.choice.of_metadata(content)
                contents.append(renamed_of(chosen, self._origin.others))
            elif self._origin.json:
                self._faults.add(self._file, "its .json cannot be read as JSON", row.image_id)
        differences: dict[int, str] = {}
        for name, builder in self._builders.items():
            for at, problem in self._differences(
                name=name, builder=builder, rows=rows, contents=contents
            ):
                # One per sample: `differing` counts samples, however many columns differ.
                differences.setdefault(at, problem)
                if self._origin.json:
                    self._faults.add(self._file, problem, rows[at].image_id)
        if self._origin.json:
            self._check_keys(rows, contents)
        elif differences:
            first = min(differences)
            self.example = self.example or f"{rows[first].image_id!r}: {differences[first]}"
            self.differing += len(differences)

    def _differences(
        self,
        name: str,
        builder: ColumnBuilder,
        rows: Sequence[ShardRow],
        contents: Sequence[Mapping[str, Any]],
    ) -> Iterator[tuple[int, str]]:
        """Yields (index of the row, problem) where a column has another value than the JSON."""
        given = stored_values(contents, name)
        wanted = fitted(builder, given)
        for at, (row, value) in enumerate(zip(rows, wanted, strict=True)):
            stored = row.metadata[name]
            if value is None and given[at] is None and not self._binds(contents[at], name):
                continue
            if value is MISFIT or not same(value, stored):
                shown, said = _SHORT.repr(stored), _SHORT.repr(given[at])
                yield at, f"column {name!r} is {shown}, and its .json says {said}"

    def _binds(self, content: Mapping[str, Any], name: str) -> bool:
        """Returns whether a JSON without a value for a column means that the column has none."""
        if self._origin.json and self._origin.alone:
            return True
        return name in content or name.removeprefix("input_") in content

    def _check_keys(self, rows: Sequence[ShardRow], contents: Sequence[Mapping[str, Any]]) -> None:
        if not self._origin.alone:
            return
        for row, content in zip(rows, contents, strict=True):
            for key in content:
                if key not in self._names and f"input_{key}" not in self._names:
                    problem = f"its .json has the key {_SHORT.repr(key)}, and there is no column"
                    self._faults.add(self._file, problem, row.image_id)

    def _check_caption(self, sample: StrictSample, row: ShardRow, column: str) -> None:
        if column not in self._names:
            return
        # As `planning.select` makes it, and not by its code: what lies on disk is the proof.
        text = str(row.metadata[column] or "").encode()
        digests = [one.sha256 for one in sample.members[1:] if ext_of(one.name) == "txt"]
        # Exactly one: none and two are wrong as well.
        if digests != [hashlib.sha256(text).hexdigest()]:
            problem = f"its .txt is not column {column!r}, {_SHORT.repr(row.metadata[column])}"
            self._faults.add(self._file, problem, row.image_id)

    def _check_json_member(self, sample: StrictSample, row: ShardRow) -> None:
        wanted = hashlib.sha256(json_of_row(self._json_columns, row.metadata)).hexdigest()
        ext = self.json_member
        digests = [one.sha256 for one in sample.members[1:] if ext_of(one.name) == ext]
        if digests != [wanted]:
            self._faults.add(self._file, f"its .{ext} is not what its columns are", row.image_id)


def ext_of(name: str) -> str:
    """Returns the extension of a member, by WebDataset's rule: all behind the first dot.

    >>> ext_of("a.b/cat.seg.png")
    'seg.png'
    """
    split = split_member(name)
    return split[1] if split else ""


def _content(data: bytes) -> Mapping[str, Any] | None:
    """Returns the keys of a JSON, none of one that is no mapping; None if it is no JSON."""
    try:
        content = parsed_json(data)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else {}


def fitted(builder: ColumnBuilder, values: Sequence[Any]) -> list[Any]:
    """Returns values as the column stores them; `MISFIT` for those that it cannot hold."""
    try:
        return to_values(builder.build(values, [""] * len(values)))
    except ValueError:
        if len(values) == 1:
            return [MISFIT]
        # One that does not fit fails all that come with it: each by itself, then.
        return [one for value in values for one in fitted(builder, [value])]


def same(one: Any, other: Any) -> bool:
    """Returns whether two values of one column are the same; NaN equals NaN."""
    # Values of one column have one type, so that 1 == True cannot deceive.
    if one == other:
        return True
    try:
        return canonical.encode(one) == canonical.encode(other)
    except TypeError:  # of a type that no input of ours has
        return False
