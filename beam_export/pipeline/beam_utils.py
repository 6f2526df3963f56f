"""Small Beam steps that several pipelines share: a checkpoint, a merge, grouping in a bundle."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beam_export.samples import Failure, SampleRef

__all__ = ["Checkpoint", "GroupInBundle", "MergeAll", "split_failures"]

#: Values that a bundle holds back to let those of one key travel together.
_HELD = 50_000


@dataclasses.dataclass
class Checkpoint(beam.PTransform):
    """Materialises a PCollection, so that upstream steps run once however many steps read it.

    A shuffle, and a step behind it: Beam's fuser in Java, so Flink's, forgets what else goes into a
    `Flatten` that takes the output of a shuffle itself.

    Attributes:
        element: type of an element.
    """

    element: Any

    def expand(self, elements: PCollection[Any]) -> PCollection[Any]:
        shuffled = elements | "Shuffle" >> beam.Reshuffle().with_output_types(self.element)
        return shuffled | "Keep" >> beam.Map(_keep).with_output_types(self.element)


def _keep(element: Any) -> Any:
    return element


class MergeAll(beam.CombineFn):
    """Combines elements into one accumulator that merges in any order.

    Args:
        make: returns an empty accumulator, which has a method `merge`.
        add: adds an element to an accumulator in place; by default elements are accumulators, and
            are merged.
        finish: returns the output for the accumulator; by default it is the output itself.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        add: Callable[[Any, Any], None] | None = None,
        finish: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self._make, self._add, self._finish = make, add, finish

    def create_accumulator(self) -> Any:
        return self._make()

    def add_input(self, accumulator: Any, element: Any) -> Any:
        if self._add is None:
            accumulator.merge(element)
        else:
            self._add(accumulator, element)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        merged = self._make()
        for one in accumulators:
            merged.merge(one)
        return merged

    def extract_output(self, accumulator: Any) -> Any:
        return accumulator if self._finish is None else self._finish(accumulator)


class GroupInBundle(beam.DoFn):
    """Yields (key, packed values): the values that one bundle has for a key leave together.

    Args:
        assign: yields (key, value) for what an element holds; gets the side inputs too.
        pack: returns the packed values, in one piece or several.
    """

    def __init__(
        self,
        assign: Callable[..., Iterable[tuple[int, Any]]],
        pack: Callable[[list[Any]], Iterable[bytes]],
    ) -> None:
        self._assign, self._pack = assign, pack

    def start_bundle(self) -> None:
        self._held: dict[int, list[Any]] = collections.defaultdict(list)
        self._count = 0

    def process(self, element: Any, *sides: Any) -> Iterator[tuple[int, bytes]]:
        for key, value in self._assign(element, *sides):
            self._held[key].append(value)
            self._count += 1
        if self._count >= _HELD:
            yield from self._release()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for element in self._release():
            yield GlobalWindows.windowed_value(element)

    def _release(self) -> Iterator[tuple[int, bytes]]:
        held, self._held, self._count = self._held, collections.defaultdict(list), 0
        for key, values in held.items():
            for packed in self._pack(values):
                yield key, packed


def split_failures(outcomes: Iterable[SampleRef | Failure]) -> Iterator[Any]:
    """Yields each failure under the tag `failures`, and then all refs as one list."""
    refs = []
    for one in outcomes:
        if isinstance(one, Failure):
            yield TaggedOutput("failures", one)
        else:
            refs.append(one)
    if refs:
        yield refs
