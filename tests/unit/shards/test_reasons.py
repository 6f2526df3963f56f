from __future__ import annotations

import io
import itertools

import pytest

from beam_export.samples import Failure
from beam_export.shards.manifest import failures_table
from beam_export.shards.parquet import write_table
from beam_export.shards.reasons import describe_failures, read_failures, reasons


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
    found = [failure(number, chr(65 + number)) for number in range(6)]
    assert describe_failures(found).endswith("1 with C (in/a2.jpg: it is C), 3 with other errors")
    assert len(reasons(found, most=5)) == 6
    assert len(reasons(found, most=6)) == 6
    assert reasons([]) == []


def test_a_sample_without_a_path_goes_by_its_id() -> None:
    assert reasons([failure(1, "A", path="")]) == ["1 with A (a1: it is A)"]


def test_the_table_of_failures_is_read_back() -> None:
    file = io.BytesIO()
    write_table(file, failures_table(MANY))
    file.seek(0)
    assert list(read_failures(file)) == sorted(MANY)
