"""An export, opened for reading: a sequence of its samples that reads what is asked for."""

from __future__ import annotations

import bisect
import difflib
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import pyarrow as pa

from beam_export.errors import InputError
from beam_export.exports.files import ExportFiles
from beam_export.exports.opening import open_catalog
from beam_export.samples import Sample
from beam_export.storage.home import expand_given
from beam_export.text import cut

__all__ = ["ExportedDataset", "open_export"]

#: Characters of a wrong value that an error shows.
_LONGEST_VALUE = 60


def open_export(directory: str | os.PathLike[str]) -> ExportedDataset:
    """Returns an export of this tool as a sequence of its samples; two small files are read.

        dataset = open_export("shards/")
        dataset[0].image, dataset.by_id("cats/1").metadata["score"]

    Args:
        directory: of the export: local, `gs://`, or on any storage that Beam has a file system for.

    Raises:
        InputError: if it is empty, or holds no export, or one that is not finished.
        RunError: if the manifest or the table of shards is damaged.
        TypeError: if it is no path.
    """
    path = os.fspath(directory) if isinstance(directory, str | os.PathLike) else directory
    if not isinstance(path, str):
        raise TypeError(f"open_export takes a directory as text or a Path, not {_given(path)}.")
    if not path.strip():
        # It would mean the root of the disk.
        raise InputError(f"open_export was given {path!r}: give the directory of an export.")
    path = expand_given(path)
    files = ExportFiles(open_catalog(path))
    return ExportedDataset(files, range(files.catalog.samples))


class ExportedDataset(Sequence[Sample]):
    """The samples of an export, of one of its splits, or of a slice, in their order.

    A `Sample` that it gives has `id`, `image` (the bytes as they are stored), `path` (where the
    image came from), `metadata` (every column of the Parquet that the export did not make for
    itself, None where it is null; sizes and offsets are in `table`), and `fields` (the other
    members in the tar, by extension). Each image is checked against its `sha256`. So a sample can
    be handed to `WriteShards` again.

    It can be pickled, and used by several threads and processes, as loaders do. What is damaged,
    or cannot be read, raises `RunError`, in one sentence.
    """

    def __init__(self, files: ExportFiles, numbers: range) -> None:
        """Use `open_export`.

        Args:
            files: of the export.
            numbers: of the samples, in their order.
        """
        self._files, self._numbers = files, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, number: int) -> Sample: ...

    @overload
    def __getitem__(self, number: slice) -> ExportedDataset: ...

    def __getitem__(self, number: int | slice) -> Sample | ExportedDataset:
        """Returns a sample, by one read of its tar; or of a slice, a dataset that reads no more.

        The rows of a shard are read with the first sample of it that is asked for.

        Raises:
            IndexError: if there is no such sample.
            TypeError: if it is no number.
        """
        if isinstance(number, slice):
            return ExportedDataset(self._files, self._numbers[number])
        try:
            operator.index(number)
        except TypeError:
            raise TypeError(
                f"samples are asked for by their numbers, and not by {_given(number)}: give a "
                "whole number or a slice, or an id to by_id()."
            ) from None
        try:
            return self._files.sample(self._numbers[number])
        except IndexError:
            raise IndexError(
                f"there are {len(self)} samples, and none of number {number}"
            ) from None

    def __iter__(self) -> Iterator[Sample]:
        """Yields the samples in order; tars are read front to back, in large pieces."""
        if self._numbers.step == 1:
            yield from self._files.stream(self._numbers.start, self._numbers.stop)
        else:
            yield from map(self._files.sample, self._numbers)

    def by_id(self, id: str) -> Sample:
        """Returns the sample of an id.

        The first call reads the ids of all samples, and keeps 16 bytes of each.

        Raises:
            KeyError: if there is none.
            TypeError: if it is no text.
        """
        if not isinstance(id, str):
            raise TypeError(
                f"by_id takes an id as text, not {_given(id)}: give the text of `image_id`; by "
                "its number, a sample is dataset[number]."
            )
        for number in self._files.id_index().numbers(id):
            # Ids of equal digests are told apart by the row.
            if number in self._numbers and self._files.id_of(number) == id:
                return self._files.sample(number)
        raise KeyError(f"no sample has the id {id!r}")

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the whole export is and how it was made, of a part too: its manifest's content."""
        return self._files.catalog.manifest

    @property
    def schema(self) -> pa.Schema:
        """The columns of `table`, with their types."""
        return self._files.schema

    @property
    def splits(self) -> dict[str, ExportedDataset]:
        """The samples of each split (`--split`) by its name; of a part, those that it has of it."""
        firsts, found = self._files.catalog.firsts, {}
        for split in self.manifest.get("splits", ()):
            first = int(firsts[split["first_shard"]])
            behind = int(firsts[split["first_shard"] + split["shards"]])
            found[split["name"]] = ExportedDataset(
                self._files, _between(self._numbers, first, behind)
            )
        return found

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns the rows of the Parquet files in memory, one per sample.

        Args:
            columns: names of those that are read; all if not given.

        Raises:
            InputError: if there is no such column.
            TypeError: if they are no list of names.
        """
        names = self.schema.names if columns is None else _names(columns)
        for name in names:
            self._check_column(name)
        schema = pa.schema([self.schema.field(name) for name in names], self.schema.metadata)
        first, behind = _bounds(self._numbers)
        batches = self._files.batches(names, first, behind)
        table = pa.Table.from_batches(
            [batch.replace_schema_metadata(schema.metadata) for batch in batches], schema
        )
        if self._numbers.step == 1:
            return table
        return table.take(pa.array([number - first for number in self._numbers], pa.int64()))

    def _check_column(self, name: str) -> None:
        if name in self.schema.names:
            return
        near = difflib.get_close_matches(str(name), self.schema.names, n=1)
        meant = f"{near[0]!r} is meant, perhaps" if near else "see .schema for those that it has"
        raise InputError(f"the export has no column {name!r}: {meant}.")

    def __repr__(self) -> str:
        catalog = self._files.catalog
        part = "" if len(self) == catalog.samples else f" of {catalog.samples}"
        return f"<ExportedDataset {catalog.place.directory}: {len(self)}{part} samples>"


def _given(value: Any) -> str:
    """Returns a value of a wrong type in words: itself, as far as it is short, and its type."""
    return f"{cut(repr(value), _LONGEST_VALUE)} ({type(value).__name__})"


def _names(columns: Any) -> list[str]:
    """Returns the columns that are asked for.

    Raises:
        TypeError: if they are no list: a text would be taken for the names of its letters.
    """
    if not isinstance(columns, str | bytes) and isinstance(columns, Iterable):
        return list(columns)
    raise TypeError(
        f"columns is a list of names, not {_given(columns)}: for one column give "
        "columns=['image_id']."
    )


def _between(numbers: range, first: int, behind: int) -> range:
    """Returns those of some numbers that are at least `first`, and less than `behind`.

    >>> _between(range(9, 0, -2), 3, 8)
    range(7, 1, -2)
    """
    rising = numbers[::-1] if numbers.step < 0 else numbers
    part = rising[bisect.bisect_left(rising, first) : bisect.bisect_left(rising, behind)]
    return part[::-1] if numbers.step < 0 else part


def _bounds(numbers: range) -> tuple[int, int]:
    """Returns the least of some numbers, and the one behind the greatest."""
    return (min(numbers), max(numbers) + 1) if numbers else (0, 0)
