from __future__ import annotations

import pytest

from beam_export.errors import InputError
from beam_export.index_kinds import KINDS, index_kinds


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (None, ()),
        ("dali", ("dali",)),
        ("wids, dali,wids", ("dali", "wids")),
        ("all", KINDS),
        ("dali,wids,energon,all", KINDS),
    ],
)
def test_words_ask_for_kinds(text: str | None, kinds: tuple[str, ...]) -> None:
    assert index_kinds(text) == kinds


@pytest.mark.parametrize("text", ["", "dali,", "DALI", "counts", "none", "dali;wids"])
def test_a_word_that_is_none_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"for which there is no index: give dali, wids"):
        index_kinds(text)
