from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_export.errors import (
    BeamExportError,
    InputError,
    RunError,
    SampleError,
    find_error,
    known_error,
    leave_unmarked,
    mark_errors,
)

SENTENCE = "--input names 'x y', which is not there: give a directory."


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_found_in_a_traceback_of_another_error(kind: type[BeamExportError]) -> None:
    try:
        try:
            raise kind(SENTENCE)
        except BeamExportError as error:
            raise RuntimeError(
                f"{error.marked} [while running 'Plan/Check-ptransform-7']"
            ) from error
    except RuntimeError:
        text = traceback.format_exc()
    found = find_error(text)
    assert type(found) is kind
    assert found.sentence == SENTENCE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ValueError: no",
        "a <beam_export:OtherError:1:e8b7be43>",
        # Of another text, and longer than all of it.
        "b <beam_export:RunError:1:e8b7be43>",
        "a <beam_export:RunError:9:e8b7be43>",
    ],
)
def test_nothing_found_in_other_text(text: str) -> None:
    assert find_error(text) is None


@given(st.text(st.characters(codec="utf-8")))
@example("a <beam_export:RunError:1:e8b7be43>\n'\"\\ é")
def test_sentence_survives_repr_of_repr(sentence: str) -> None:
    found = find_error(repr(repr(Exception(InputError("said: " + sentence).marked))))
    assert found is not None


@given(st.text(st.characters(codec="utf-8", exclude_characters="<")))
def test_any_sentence_comes_back(sentence: str) -> None:
    found = find_error(repr(repr(InputError(sentence).marked)))
    assert type(found) is InputError
    assert found.sentence == sentence


def test_lone_surrogate_does_not_hide_the_error() -> None:
    found = find_error(RunError("no file \udcff").marked)
    assert found is not None
    assert found.sentence == "no file \\xff"


def processed(call: object) -> None:
    """Calls as Beam's worker does, by a file of its name."""
    code = compile("call()", "/x/apache_beam/runners/worker/operations.py", "exec")
    exec(code, {"call": call})


def fail() -> None:
    raise InputError(SENTENCE)


def test_the_mark_stands_where_a_runner_makes_text_of_an_error_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BEAM_EXPORT_MARKS", raising=False)
    with pytest.raises(InputError) as caught:
        fail()
    assert str(caught.value) == SENTENCE
    with pytest.raises(InputError) as caught:
        processed(fail)
    assert str(caught.value).startswith(f"{SENTENCE} <beam_export:InputError:")


@pytest.mark.parametrize(("first", "marked"), [(mark_errors, True), (leave_unmarked, False)])
def test_people_see_no_mark_where_no_command_looks_for_one(
    monkeypatch: pytest.MonkeyPatch, first: Callable[[], None], marked: bool
) -> None:
    monkeypatch.setenv("BEAM_EXPORT_MARKS", "")
    monkeypatch.delenv("BEAM_EXPORT_MARKS")
    first()
    # A pipeline that a command builds itself stays the command's.
    leave_unmarked()
    with pytest.raises(InputError) as caught:
        processed(fail)
    assert ("<beam_export:" in str(caught.value)) == marked


def test_a_step_that_beam_adds_is_taken_off_again() -> None:
    error = InputError(f"{SENTENCE} [while running 'Export/ReadSamples-ptransform-7']")
    assert error.sentence == SENTENCE


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_is_known_by_itself_by_its_cause_and_by_its_text(wrapped: bool) -> None:
    error: Exception = InputError(SENTENCE)
    if wrapped:
        error = RuntimeError(error.marked)  # type: ignore[attr-defined]
    other = ValueError("no")
    other.__cause__ = error
    for one in (error, other):
        found = known_error(one)
        assert type(found) is InputError
        assert found.sentence == SENTENCE
    assert known_error(ValueError("no")) is None


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_pickle_keeps_the_sentence_once(kind: type[BeamExportError]) -> None:
    error = pickle.loads(pickle.dumps(kind(SENTENCE)))
    assert type(error) is kind
    assert error.sentence == SENTENCE
    assert str(error) == str(kind(SENTENCE))


def test_sample_error_survives_pickle() -> None:
    error = pickle.loads(pickle.dumps(SampleError("decode", "OSError", "truncated")))
    assert (error.stage, error.error, error.message) == ("decode", "OSError", "truncated")


def test_a_sample_error_does_not_end_the_run() -> None:
    assert not issubclass(SampleError, BeamExportError)
