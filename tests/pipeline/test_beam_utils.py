"""Steps that several pipelines share, as a runner calls them."""

from __future__ import annotations

import collections
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from support.runs import run_pipeline

from beam_export.pipeline import beam_utils
from beam_export.pipeline.beam_utils import (
    CallOnce,
    GroupInBundle,
    MergeAll,
    MergeBundle,
    elements_of,
    merge_parts,
    sides_of,
)


class Sum:
    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> None:
        self.total += number

    def merge(self, other: Sum) -> None:
        self.total += other.total

    def shown(self) -> str:
        return f"={self.total}"


def merged(step: MergeBundle, bundles: list[list[object]]) -> list[Any]:
    step = pickle.loads(pickle.dumps(step))
    parts: list[Any] = []
    for bundle in bundles:
        step.start_bundle()
        for element in bundle:
            step.process(element)
        parts.extend(one.value for one in step.finish_bundle())
    return parts


def test_accumulators_merge_and_an_empty_bundle_adds_nothing() -> None:
    parts = merged(MergeBundle(Sum, Sum.add), [[1, 2], [], [4]])
    assert [part.total for part in parts] == [3, 4]
    assert merge_parts(parts, Sum, Sum.shown) == "=7"
    assert merge_parts([], Sum, Sum.shown) == "=0"


def test_elements_may_be_accumulators_themselves() -> None:
    one, two = Sum(), Sum()
    one.add(3)
    two.add(5)
    found = merge_parts(merged(MergeBundle(Sum), [[one], [two]]), Sum)
    assert isinstance(found, Sum)
    assert (found.total, one.total, two.total) == (8, 3, 5)


def test_a_merge_of_nothing_and_of_all_is_one_element() -> None:
    def build(pipeline: beam.Pipeline) -> None:
        for name, numbers in ("none", []), ("some", [1, 2, 4]):
            given = pipeline | name >> beam.Create(numbers)
            found = given | f"Merge_{name}" >> MergeAll(Sum, Sum.add, Sum.shown)
            assert_that(found, equal_to([f"={sum(numbers)}"]), label=f"Check_{name}")

    run_pipeline(build)


def test_side_inputs_of_one_name_are_put_together_again() -> None:
    def build(pipeline: beam.Pipeline) -> None:
        odd, even = pipeline | "Odd" >> beam.Create([1, 3]), pipeline | "Even" >> beam.Create([2])
        sides = {**sides_of("numbers", (odd, even)), **sides_of("numbers_not", (odd,))}
        found = pipeline | CallOnce(list, numbers_of, **sides)
        assert_that(found, equal_to([[1, 2, 3]]))

    run_pipeline(build)


def numbers_of(**sides: Iterable[int]) -> list[int]:
    assert elements_of("none", sides) == []
    return sorted(elements_of("numbers", sides))


def by_first_letter(words: str, drop: str) -> Iterator[tuple[int, str]]:
    for word in words.split():
        if word != drop:
            yield ord(word[0]), word


def join(words: list[str]) -> Iterable[bytes]:
    return [" ".join(words).encode()]


def grouped(elements: list[str]) -> dict[int, list[bytes]]:
    """Returns what one bundle yields, by key."""
    step = GroupInBundle(by_first_letter, join)
    step.start_bundle()
    found: dict[int, list[bytes]] = collections.defaultdict(list)
    for element in elements:
        for key, packed in step.process(element, "ant"):
            found[key].append(packed)
    for value in step.finish_bundle():
        key, packed = value.value
        found[key].append(packed)
    return dict(found)


def test_values_of_one_key_leave_a_bundle_together() -> None:
    found = grouped(["ape bee ant", "cat asp", "bat"])
    assert found == {ord("a"): [b"ape asp"], ord("b"): [b"bee bat"], ord("c"): [b"cat"]}
    assert grouped([]) == {}


def test_a_bundle_that_holds_too_much_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_utils, "_HELD", 2)
    found = grouped(["ape asp", "auk", "ant", "bee"])
    assert found == {ord("a"): [b"ape asp", b"auk"], ord("b"): [b"bee"]}
