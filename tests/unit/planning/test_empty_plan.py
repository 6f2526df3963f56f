"""The error where no sample is left to plan."""

from __future__ import annotations

from beam_export.planning.empty_plan import nothing_to_plan
from beam_export.samples import Failure


def lost(number: int, error: str) -> Failure:
    return Failure(f"a{number}", f"/in/a{number}.jpg", "list", error, f"it is {error}")


def test_the_most_common_reasons_are_told_with_an_example_each() -> None:
    errors = ["B"] * 3 + ["C"] * 2 + ["A"] * 3 + ["D", "E"]
    failures = [lost(number, error) for number, error in enumerate(errors)]
    said = nothing_to_plan(failures, False, output=None, hash_="0" * 12).sentence
    assert said == (
        "the input holds no image that can be exported: 10 failed, 3 with A (the first, "
        "/in/a5.jpg: it is A), 3 with B (the first, /in/a0.jpg: it is B), 2 with C (the first, "
        "/in/a3.jpg: it is C), 2 with other errors: mend them, or give another input."
    )


def test_samples_that_were_left_out_are_spoken_of() -> None:
    said = nothing_to_plan([lost(1, "A")], True, output=None, hash_="0" * 12).sentence
    assert "1 failed, 1 with A (/in/a1.jpg: it is A); --filter, --ids" in said
    assert "ask for less" in nothing_to_plan([], True, output=None, hash_="0" * 12).sentence
    assert "failed" not in nothing_to_plan([], False, output=None, hash_="0" * 12).sentence
