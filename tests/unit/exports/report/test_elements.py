from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.html_seen import ATTACKS, Seen

from beam_export.exports.report.elements import data, element, plain_text, to_html
from beam_export.text import escaped


@pytest.mark.parametrize("text", [*ATTACKS, "\udc80\ud83d"])
def test_text_of_a_dataset_stays_text(text: str) -> None:
    seen = Seen(to_html(element("p", data(text), title=plain_text(text))))
    assert seen.tags == [("p", [("title", plain_text(text))]), ("bdi", [])]
    assert seen.text == plain_text(text)


@given(st.text(st.characters(exclude_categories=[]), max_size=400))
@example("\r")
def test_any_text_stays_text(text: str) -> None:
    seen = Seen(to_html(data(text)))
    assert [tag for tag, _ in seen.tags] == ["bdi"]
    assert seen.text == plain_text(text)
    assert escaped(seen.text) == seen.text
    assert len(plain_text(text, 50)) <= 50 * 10
    to_html(data(text)).encode("utf-8")


def test_children_stand_in_their_order() -> None:
    made = element("p", ["a", None, element("b", "c"), "d", "e", element("i"), "f"])
    assert to_html(made) == "<p>a<b>c</b>de<i></i>f</p>"
