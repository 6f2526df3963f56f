"""The small JSON members of many samples, read together: their keys become metadata."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_export.errors import SampleError
from beam_export.samples import Failure, Member, SampleRef, failure_of
from beam_export.sources.json_metadata import MAX_JSON, json_of, with_content
from beam_export.sources.reader import Reader

__all__ = ["ReadJson", "sorted_out", "with_json"]

#: Bytes that are read together, and held.
_AT_ONCE = 16 << 20


def with_json(refs: Sequence[SampleRef], reader: Reader) -> Iterator[SampleRef | Failure]:
    """Yields refs in order with the keys of their JSON members, or why those cannot be had.

    Raises:
        OSError: if they cannot be read at present.
    """
    start, size = 0, 0
    for at, ref in enumerate(refs):
        if size > _AT_ONCE:
            yield from _read(refs[start:at], reader)
            start, size = at, 0
        size += sum(field.size for field in ref.fields if field.ext == "json")
    yield from _read(refs[start:], reader)


def _read(refs: Sequence[SampleRef], reader: Reader) -> Iterator[SampleRef | Failure]:
    wanted: list[Member | SampleError | None] = []
    for ref in refs:
        try:
            wanted.append(json_of(ref))
        except SampleError as error:
            wanted.append(error)
    found = iter(reader.read_all([one for one in wanted if isinstance(one, Member)]))
    for ref, member in zip(refs, wanted, strict=True):
        data = next(found) if isinstance(member, Member) else member
        try:
            if isinstance(data, SampleError):
                raise data
            yield ref if data is None else with_content(ref, data)
        except SampleError as error:
            yield failure_of(ref, error)


class ReadJson(beam.DoFn):
    """Yields lists of refs with what their JSON says, of such lists, pickled."""

    def process(self, packed: bytes) -> Iterator[Any]:
        with Reader(MAX_JSON) as reader:
            yield from sorted_out(with_json(pickle.loads(packed), reader))


def sorted_out(outcomes: Iterable[SampleRef | Failure]) -> Iterator[Any]:
    """Yields failures as such, and all refs as one list."""
    refs = []
    for one in outcomes:
        if isinstance(one, Failure):
            yield TaggedOutput("failures", one)
        else:
            refs.append(one)
    if refs:
        yield refs
