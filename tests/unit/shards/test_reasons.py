from __future__ import annotations

import io
import itertools

import pytest

from beam_export.samples import Failure
from beam_export.shards.manifest import failures_table
from beam_export.shards.parquet import write_table
from beam_export.shards.reasons import describe_failures, read_failures, reason_of, reasons


def failure(number: int, error: str, path: str = "in") -> Failure:
    return Failure(f"a{number}", path and f"{path}/a{number}.jpg", "read", error, f"it is {error}")


MANY = [*(failure(n, "B") for n in range(3)), *(failure(n, "A") for n in range(3)), failure(9, "C")]


@pytest.mark.parametrize("failures", list(itertools.permutations(MANY[1:], 6))[::97])
def test_the_commonest_come_first_whatever_the_order(failures: list[Failure]) -> None:
    assert reasons([*failures, MANY[0]]) == [
        "3 with A (the first, in/a0.jpg: it is A)",
        "3 with B (the first, in/a0.jpg: it is B)",
        "1 with C (in/a9.jpg: it is C)",
    ]


def test_only_so_many_are_named() -> None:
    found = [failure(number, chr(65 + number)) for number in range(10)]
    assert describe_failures(found).endswith(
        "1 with E (in/a4.jpg: it is E), 5 for 5 further reasons"
    )
    assert reasons([*found, found[-1]], most=9)[-1] == "1 for 1 further reason"
    assert len(reasons(found)) == 9
    assert len(reasons(found, most=10)) == 10
    assert reasons([]) == []


def test_two_reasons_of_one_class_are_told_apart() -> None:
    texts = ["the image is empty", "the PNG has no palette", "the image is empty"]
    found = [failure(n, "ValueError")._replace(message=text) for n, text in enumerate(texts)]
    assert reasons(found) == [
        "2 with ValueError (the first, in/a0.jpg: the image is empty)",
        "1 with ValueError (in/a1.jpg: the PNG has no palette)",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the image has 12 bytes, more than 5", "the image has 7,000,000 bytes, more than 5"),
        ("its row has 1 value where 3 columns are", "its row has 4 values where 3 columns are"),
        ("its 'text' has no image", "its 'it's' has no image"),
        ('its "a b" is no path', 'its "c" is no path'),
        ("no file /in/a b/x.jpg here", "no file /in/a b/yy.png here"),
        ("gs://b/one.tar is gone", "gs://c/d/two.tar is gone"),
        ("member cat.jpg is broken", "member dog-face.png is broken"),
        ("it has no image, only .txt", "it has no image, only .json, .seg.npy"),
        ("sha256 is ab12, not cd34ef", "sha256 is 77ff, not 0a"),
        ("in/a7.jpg is not what in/a7.jpg was", "in/a8.jpg is not what in/a8.jpg was"),
        ("the sample named a name is lost", "the sample other name is lost"),
    ],
)
def test_what_differs_from_image_to_image_makes_no_other_reason(one: str, other: str) -> None:
    paths = {"one": "named a name", "other": "other name"} if "sample" in one else {}
    found = [
        Failure(paths.get("one", "i"), "in/a7.jpg", "read", "E", one),
        Failure(paths.get("other", "j"), "in/a8.jpg", "read", "E", other),
    ]
    assert len(reasons(found)) == 1
    assert reason_of(found[0]) != reason_of(found[0]._replace(message=f"{one}, or not"))


def test_a_long_message_is_cut_and_many_are_grouped_at_once() -> None:
    found = [failure(n, "E")._replace(message=f"{n} " + "a-" * 500) for n in range(40)]
    (said,) = reasons(found)
    assert said.startswith("40 with E (the first, in/a0.jpg: 0 a-a-")
    assert len(said) < 400


def test_a_sample_without_a_path_goes_by_its_id() -> None:
    nameless = failure(1, "A", path="")
    assert reasons([nameless]) == ["1 with A (a1: it is A)"]
    assert reasons([nameless._replace(image_id="")]) == ["1 with A (it is A)"]


def test_the_table_of_failures_is_read_back() -> None:
    file = io.BytesIO()
    write_table(file, failures_table(MANY))
    file.seek(0)
    assert list(read_failures(file)) == sorted(MANY)
