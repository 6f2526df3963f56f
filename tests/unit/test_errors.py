from __future__ import annotations

import pickle
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_export.errors import BeamExportError, InputError, RunError, SampleError, find_error

SENTENCE = "--input names 'x y', which is not there: give a directory."


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_found_in_a_traceback_of_another_error(kind: type[BeamExportError]) -> None:
    try:
        try:
            raise kind(SENTENCE)
        except BeamExportError as error:
            raise RuntimeError(f"{error} [while running 'Plan/Check-ptransform-7']") from error
    except RuntimeError:
        text = traceback.format_exc()
    found = find_error(text)
    assert type(found) is kind
    assert found.sentence == SENTENCE


@pytest.mark.parametrize("text", ["", "ValueError: no", "<beam_export:OtherError:YQ==>"])
def test_nothing_found_in_other_text(text: str) -> None:
    assert find_error(text) is None


@given(st.text(st.characters(codec="utf-8")))
@example("<beam_export:RunError:YQ==>\n'\"\\ é")
def test_sentence_survives_repr_of_repr(sentence: str) -> None:
    found = find_error(repr(repr(Exception(str(InputError("said: " + sentence))))))
    assert found is not None


@given(st.text(st.characters(codec="utf-8", exclude_characters="<")))
def test_any_sentence_comes_back(sentence: str) -> None:
    found = find_error(repr(repr(InputError(sentence).__str__())))
    assert type(found) is InputError
    assert found.sentence == sentence


def test_lone_surrogate_does_not_hide_the_error() -> None:
    found = find_error(str(RunError("no file \udcff")))
    assert found is not None
    assert found.sentence == "no file \\udcff"


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
