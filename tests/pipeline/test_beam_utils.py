"""Steps that several pipelines share, as a runner calls them."""

from __future__ import annotations

import collections
import pickle
from collections.abc import Iterable, Iterator

import pytest

from beam_export.pipeline import beam_utils
from beam_export.pipeline.beam_utils import GroupInBundle, MergeAll


class Sum:
    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> None:
        self.total += number

    def merge(self, other: Sum) -> None:
        self.total += other.total

    def shown(self) -> str:
        return f"={self.total}"


def combined(combine: MergeAll, bundles: list[list[object]]) -> object:
    parts = []
    for bundle in bundles:
        part = combine.create_accumulator()
        for element in bundle:
            part = combine.add_input(part, element)
        parts.append(part)
    return combine.extract_output(combine.merge_accumulators(parts))


def test_accumulators_merge_and_an_empty_bundle_adds_nothing() -> None:
    combine = pickle.loads(pickle.dumps(MergeAll(Sum, Sum.add, Sum.shown)))
    assert combined(combine, [[1, 2], [], [4]]) == "=7"
    assert combined(combine, []) == "=0"


def test_elements_may_be_accumulators_themselves() -> None:
    one, two = Sum(), Sum()
    one.add(3)
    two.add(5)
    found = combined(MergeAll(Sum), [[one], [two]])
    assert isinstance(found, Sum)
    assert (found.total, one.total, two.total) == (8, 3, 5)


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
