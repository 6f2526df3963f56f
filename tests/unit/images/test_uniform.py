"""`beam_export.images.uniform`: the words of `--ensure`."""

from __future__ import annotations

import pytest

from beam_export.errors import InputError
from beam_export.images.uniform import ensured


def test_words_have_one_order_and_come_once() -> None:
    assert ensured("rgb,upright, rgb") == ("upright", "rgb")
    assert ensured("upright,srgb,rgb") == ensured("rgb,srgb,upright")
    assert ensured(None) == ()


@pytest.mark.parametrize("given", ["gray", "upright,", "RGB", ""])
def test_other_words_are_refused(given: str) -> None:
    with pytest.raises(InputError, match=r"--ensure=.* is none of upright, srgb, rgb: give"):
        ensured(given)
