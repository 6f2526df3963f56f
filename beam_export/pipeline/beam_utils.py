"""Small Beam steps that several pipelines share: a checkpoint, merging, grouping in a bundle."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, PCollection, TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints.decorators import IOTypeHints
from apache_beam.utils.windowed_value import WindowedValue

from beam_export.samples import Failure, SampleRef

__all__ = [
    "AnySides",
    "CallOnce",
    "Checkpoint",
    "GroupInBundle",
    "MergeAll",
    "MergeBundle",
    "elements_of",
    "merge_parts",
    "sides_of",
    "split_failures",
]

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


class CallOnce(beam.PTransform):
    """Calls a function once, with side inputs; gives what it returns, as one element.

    With `AsIter` of all elements it does what a global combine does, in one step of the runner
    instead of three. What is large is merged by bundle before (`MergeBundle`).

    Args:
        gives: type of what it returns.
        call: the function.
        sides, named: its arguments: values, and side inputs.
    """

    def __init__(self, gives: Any, call: Callable[..., Any], *sides: Any, **named: Any) -> None:
        super().__init__()
        self._gives, self._call, self._sides, self._named = gives, call, sides, named

    def expand(self, pbegin: beam.pvalue.PBegin | beam.Pipeline) -> PCollection[Any]:
        sides = [
            AsIter(_own(f"Side{number}", side.pvalue)) if isinstance(side, AsIter) else side
            for number, side in enumerate(self._sides)
        ]
        called = beam.ParDo(_Call(self._call), *sides, **self._named)
        return pbegin | "Once" >> beam.Impulse() | "Call" >> called.with_output_types(self._gives)


class AnySides(beam.DoFn):
    """A DoFn that takes any number of side inputs by name, which Beam's type hints do not know."""

    def default_type_hints(self) -> IOTypeHints:
        """Returns no hints."""
        return IOTypeHints.empty()


class _Call(AnySides):
    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def process(self, _: bytes, *sides: Any, **named: Any) -> Iterator[Any]:
        yield self._call(*sides, **named)


class MergeBundle(beam.DoFn):
    """Yields one accumulator per bundle, of all its elements.

    Args:
        make: returns an empty accumulator, which has a method `merge`.
        add: adds an element to an accumulator in place; by default elements are accumulators, and
            are merged.
    """

    def __init__(
        self, make: Callable[[], Any], add: Callable[[Any, Any], None] | None = None
    ) -> None:
        self._make, self._add = make, add
        self._merged: Any = None

    def start_bundle(self) -> None:
        self._merged = None

    def process(self, element: Any) -> None:
        if self._merged is None:
            self._merged = self._make()
        if self._add is None:
            self._merged.merge(element)
        else:
            self._add(self._merged, element)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._merged is not None:
            yield GlobalWindows.windowed_value(self._merged)


class MergeAll(beam.PTransform):
    """Merges all elements into one accumulator, in whatever order they come; gives that.

    Args:
        make, add: as those of `MergeBundle`.
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

    def expand(self, elements: PCollection[Any]) -> PCollection[Any]:
        merged = elements | "MergeBundle" >> beam.ParDo(MergeBundle(self._make, self._add))
        return elements.pipeline | "MergeBundles" >> CallOnce(
            Any, merge_parts, AsIter(merged), make=self._make, finish=self._finish
        )


def merge_parts(
    parts: Iterable[Any], make: Callable[[], Any], finish: Callable[[Any], Any] | None = None
) -> Any:
    """Returns what accumulators come to together; `make` and `finish` are those of `MergeAll`."""
    merged = make()
    for one in parts:
        merged.merge(one)
    return merged if finish is None else finish(merged)


def sides_of(name: str, collections: Iterable[PCollection[Any]]) -> dict[str, AsIter]:
    """Returns a side input for each of some collections, without a step that flattens them.

    Args:
        name: of the arguments, with a number behind it; `elements_of` puts them together.
        collections: any number of them.
    """
    return {
        f"{name}_{number}": AsIter(_own(f"{name}{number}", one))
        for number, one in enumerate(collections)
    }


def _own(label: str, elements: PCollection[Any]) -> PCollection[Any]:
    """Returns the same elements, as the output of a step that has no other.

    Of a step with several outputs, Beam's own DirectRunner puts all of them into a side input.
    """
    same = beam.Map(lambda element: element).with_output_types(elements.element_type or Any)
    return elements | label >> same


def elements_of(name: str, sides: Mapping[str, Iterable[Any]]) -> list[Any]:
    """Returns all elements of the side inputs that `sides_of` has named."""
    found = (one for key, one in sides.items() if key.rpartition("_")[0] == name)
    return list(itertools.chain.from_iterable(found))


class CountedKinds:
    """Counts files by what they are; merged in any order."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()

    def add(self, kind: str) -> None:
        self.counts[kind] += 1

    def merge(self, other: CountedKinds) -> None:
        self.counts.update(other.counts)


def count_kinds(skipped: Iterable[PCollection[str]]) -> list[PCollection[CountedKinds]]:
    """Returns one count per bundle of each of some collections of kinds of files."""
    return [
        one | f"CountSkipped{number}" >> beam.ParDo(MergeBundle(CountedKinds, CountedKinds.add))
        for number, one in enumerate(skipped)
    ]


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
