"""From tars to refs: each tar is an element of its own, so that many are read at the same time."""

from __future__ import annotations

import contextlib
import itertools
import json
import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol

import apache_beam as beam
from apache_beam.pvalue import DoOutputsTuple, PCollection, TaggedOutput

from beam_export.naming import ShardNames, parse
from beam_export.pipeline.beam_utils import Checkpoint
from beam_export.pipeline.json_members import ReadJson, sorted_out, with_json
from beam_export.pipeline.progress import report
from beam_export.samples import SOURCE_CHANGED, Failure, SampleRef
from beam_export.sources.decompress import compression_of
from beam_export.sources.entries import Entry, Skipped, Source
from beam_export.sources.json_metadata import MAX_JSON
from beam_export.sources.reader import Reader
from beam_export.sources.tar.exports import Beside, read_beside
from beam_export.sources.tar.members import TarIndexError, dali_members
from beam_export.sources.tar.refs import Item, Outcome, Spill, own_members, tar_refs
from beam_export.sources.tar.walk import stream, walk
from beam_export.storage.local_file import check_unchanged
from beam_export.storage.open_files import open_with_retries, unchanged
from beam_export.storage.registry import ReplacedError, storage_of
from beam_export.storage.retry import is_permanent
from beam_export.storage.uris import unpin
from beam_export.text import printable

__all__ = ["ReadTars", "Spills"]

#: Refs a block: what a worker takes at a time.
_BLOCK = 1000
#: Blocks of a tar whose JSON is read where the tar is; that of more is read by whoever has time.
_KEPT = 8
_START = 10


class Spills(Protocol):
    """Where what was compressed is kept until its shard is written."""

    def spilling(self) -> contextlib.AbstractContextManager[tuple[str, BinaryIO]]:
        """Opens a temporary file that stays until the end of the run."""


class ReadTars(beam.PTransform):
    """Finds the samples of tars; gives `refs` (by how they were read), `failures` and more.

    Of an uncompressed tar the headers are read by one worker, one after the other, and then small
    JSON; of a tar of many samples, by all workers. A compressed one is read once, and the data of
    its members are spilled, so that only refs go on.
    """

    def __init__(self, spills: Spills | None, max_bytes: int, progress_address: str | None) -> None:
        """Makes a reader of tars.

        Args:
            spills: where the members of compressed tars go; None measures them only.
            max_bytes: members of compressed tars that are larger are failures.
            progress_address: address for `progress.report`.
        """
        super().__init__()
        self._do = _ReadTar(spills, max_bytes, progress_address)

    def expand(self, tars: PCollection[Source]) -> dict[str, Any]:
        read: DoOutputsTuple = (
            tars
            | "SpreadTars" >> beam.Reshuffle()
            | "ReadTar"
            >> beam.ParDo(self._do).with_outputs(
                "failures", "skipped", "columns", "spilled", "later", main="refs"
            )
        )
        later = (
            read.later
            | "SpreadSamples" >> beam.Reshuffle()
            | "ReadJson" >> beam.ParDo(ReadJson()).with_outputs("failures", main="refs")
        )
        # A checkpoint: a second reading would spill to other places.
        spilled = read.spilled | "Checkpoint" >> Checkpoint(list[SampleRef])
        return {
            "refs": (read.refs, spilled, later.refs),
            "failures": (read.failures, later.failures) | "Failures" >> beam.Flatten(),
            "skipped": read.skipped,
            "columns": read.columns,
        }


class _ReadTar(beam.DoFn):
    """Yields lists of refs, in the order that they have in the tar."""

    def __init__(self, spills: Spills | None, max_bytes: int, progress_address: str | None) -> None:
        self._spills, self._max_bytes, self._progress_address = spills, max_bytes, progress_address

    def process(self, source: Source) -> Iterator[Any]:
        source = Source(*source)
        try:
            if parse(source.name) is not None and source.name.endswith(".json"):
                yield from _missing_shards(source)
                return
            beside = _read_companion(source)
            if beside is None and source.parquet is not None:
                # Of no export that is known: it may say anything about anything.
                yield TaggedOutput("skipped", ".parquet")
            if beside is not None:
                schema: bytes = beside.columns.serialize().to_pybytes()
                yield TaggedOutput("columns", (schema, printable(unpin(source.uri)[0])))
            with open_with_retries(source.uri) as tar:
                if compression_of(_start_of(tar)):
                    yield from self._streamed(tar, source, beside)
                else:
                    yield from self._walked(tar, source, beside)
        except _BrokenError as error:
            yield TaggedOutput("failures", _broken(source, str(error)))
        except ReplacedError:
            reason = "the tar or the Parquet beside it has been replaced since it was listed"
            yield TaggedOutput("failures", _broken(source, reason, SOURCE_CHANGED))
        except OSError as error:
            if not is_permanent(error):
                raise
            reason = f"the tar or the Parquet beside it cannot be read: {error.strerror}"
            yield TaggedOutput("failures", _broken(source, reason))

    def _walked(self, tar: BinaryIO, source: Source, beside: Beside | None) -> Iterator[Any]:
        items = _members(tar, source, beside)
        outcomes = tar_refs(items, unpin(source.uri)[0], None, beside, source.uri)
        blocks = 0
        with Reader(MAX_JSON) as reader:
            for one in unchanged(tar, self._blocks(outcomes, source)):
                if not isinstance(one, list):
                    yield one
                    continue
                blocks += 1
                if blocks > _KEPT:
                    yield TaggedOutput("later", pickle.dumps(one, protocol=5))
                else:
                    yield from sorted_out(with_json(one, reader))

    def _streamed(self, tar: BinaryIO, source: Source, beside: Beside | None) -> Iterator[Any]:
        opened = self._spills.spilling() if self._spills else _nowhere()
        with opened as (path, target):
            spill = Spill(target)
            items = list(spill.members(stream(tar, self._max_bytes)))
        check_unchanged(tar)
        if path and (spilled := storage_of(path).stat(path)) is not None:
            path = spilled.pinned
        # Its JSON is at hand, and may be nowhere else.
        outcomes = tar_refs(items, unpin(source.uri)[0], spill.read, beside, path)
        for one in self._blocks(outcomes, source):
            yield TaggedOutput("spilled", one) if isinstance(one, list) else one

    def _blocks(self, outcomes: Iterable[Outcome], source: Source) -> Iterator[Any]:
        block: list[SampleRef] = []
        places = itertools.count()
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                yield TaggedOutput("failures", outcome)
            elif isinstance(outcome, Skipped):
                yield TaggedOutput("skipped", outcome.kind)
            else:
                order = source.order + next(places).to_bytes(8, "big")
                block.append(outcome._replace(order=order))
                if len(block) == _BLOCK:
                    yield self._full(block)
                    block = []
        if block:
            yield self._full(block)

    def _full(self, block: list[SampleRef]) -> list[SampleRef]:
        report(self._progress_address, {"listed": len(block)})
        return block


class _BrokenError(Exception):
    """A source cannot be read, and why."""


def _start_of(tar: BinaryIO) -> bytes:
    start = tar.read(_START)
    tar.seek(0)
    return start


@contextlib.contextmanager
def _nowhere() -> Iterator[tuple[str, None]]:
    yield "", None


def _members(tar: BinaryIO, source: Source, beside: Beside | None) -> Iterable[Item]:
    """Returns the members of an uncompressed tar, by the cheapest way that is sure."""
    if beside is not None and (found := own_members(tar, source.size, beside)) is not None:
        return found
    if source.dali_index and (listed := _indexed(tar, source, source.dali_index.uri)):
        return listed
    return walk(tar, source.size)


def _indexed(tar: BinaryIO, source: Source, uri: str) -> Sequence[Item]:
    """Returns the members that an index beside a tar lists; none if it is not to be used.

    It is of another tar then, or of a version that says too little, or cannot be read, or was
    replaced: the tar itself says all. Nothing is lost but time.
    """
    try:
        with open_with_retries(uri) as index:
            listed = dali_members(index, tar, source.size)
            check_unchanged(index)
    except TarIndexError:
        return []
    except OSError as error:
        if not is_permanent(error):
            raise
        return []
    return listed


def _read_companion(source: Source) -> Beside | None:
    if source.parquet is None:
        return None
    data = _whole(source.parquet.uri)
    try:
        return read_beside(data, source.size)
    except ValueError as error:
        raise _BrokenError(str(error)) from error


def _whole(uri: str) -> bytes:
    with open_with_retries(uri) as file:
        data = file.read()
        check_unchanged(file)
    return data


def _missing_shards(source: Source) -> Iterator[Any]:
    """Yields a failure for each shard that an export's manifest knows and that is not there."""
    data = _whole(source.uri)
    try:
        manifest = json.loads(data)
        shards = int(manifest["totals"]["shards"])
    except (ValueError, KeyError, TypeError) as error:
        raise _BrokenError("the manifest of an export is damaged") from error
    found = parse(source.name)
    names = ShardNames(found.hash if found else "")
    there = {Entry(*one).name for one in source.companions}
    folder = unpin(source.uri)[0][: -len(source.name)]
    for number in range(shards):
        name = names.tar(number)
        if there.isdisjoint((name, names.parquet(number))):
            reason = "the manifest names this shard of an export, and it is not there"
            path = printable(folder + name)
            yield TaggedOutput("failures", Failure(name, path, "list", "BrokenSource", reason))


def _broken(source: Source, reason: str, error: str = "BrokenSource") -> Failure:
    name, path = printable(source.name), printable(unpin(source.uri)[0])
    return Failure(name, path, "list", error, printable(reason))
