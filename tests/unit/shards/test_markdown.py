from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from beam_export.shards.markdown import code, plain
from beam_export.text import cut, escaped

HOSTILE = [
    "a`b",
    "``<b>``",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "struct<script>: string>",
    "</code><b>",
    "<!-- x",
    "<?php",
    "<http://a.b>",
    "<a@b.c>",
    "[a](http://b)",
    "![a](b)",
    "[a][b]",
    "[^1]",
    "http://a.b/c",
    "HTTPS://a.b",
    "www.a.b",
    "me@a.b",
    "*a*",
    "**a**",
    "_a_",
    "__a__",
    "~~a~~",
    "$a$",
    "a|b",
    "a\\|b",
    "a\\",
    "&lt;b&gt;",
    "&#60;",
    ":smile:",
    "a\nb\n\n# c",
    "\r\n---\r\n",
    "\x1b[31mred",
    "\x00\x07\x7f\x85",
    "\u202egpj.exe",
    "\u2028",
    "caf\udce9",
    "\ud800",
    "| --- |",
    "x" * 10_000,
    "|" * 300,
    "`" * 300,
    "",
    " ",
]
PLAIN = [
    "string",
    "list<item: string>",
    "list<element: string not null>",
    "fixed_size_list<item: float>[3]",
    "timestamp[us, tz=Europe/Berlin]",
    "dictionary<values=string, indices=int32, ordered=0>",
    "map<string, int32>",
    "struct<a: int64, b_c: list<item: string>>",
    "score >= 0.5 and width > 256 or a < b",
    "image_id = 'größe'",
    "price * 2 > 3 - 1",
    "metadata.parquet",
    "'.txt'",
    "None",
]


def rendered(cell: str) -> list[Token]:
    """Returns what a renderer makes of a cell by GitHub's rules, links in plain text too."""
    reader = MarkdownIt("gfm-like", {"html": True, "linkify": True})
    reader.linkify.set({"fuzzy_link": False})
    tokens = reader.parse(f"| a | b |\n|---|---|\n| `x` | {cell} |\n")
    assert [token.type for token in tokens].count("td_open") == 2
    assert tokens[-1].type == "table_close"
    inline = [token for token in tokens if token.type == "inline"]
    return list(inline[3].children or ())


@given(
    st.one_of(
        st.sampled_from(HOSTILE),
        st.text(st.characters(exclude_categories=[])),
        st.text(st.sampled_from("ab1 `|\\*_~$<>[]()!&#;:/.@-='\"\nwht\x1b")),
        st.lists(st.sampled_from(HOSTILE)).map("".join),
    )
)
def test_any_text_is_shown_as_it_is_and_is_nothing_else(text: str) -> None:
    for cell in (plain(text), code(text)):
        assert "\n" not in cell
        assert escaped(cell) == cell
        children = rendered(cell)
        assert {token.type for token in children} <= {"text", "code_inline", "text_special"}
        said = "".join(token.content for token in children)
        if "`" not in text and text.strip():
            expected = escaped(cut(text)).replace("\\|", "\\\\x7c")
            assert re.sub(r"\s+", " ", said).strip() == re.sub(r"\s+", " ", expected).strip()


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize("text", [one for one in HOSTILE if one.strip("| -ab")])
def test_what_is_not_is_set_as_code(text: str) -> None:
    assert plain(text) == code(text)
    assert code(text).startswith("`")


@pytest.mark.parametrize(("text", "cell"), [("a|b", r"a\|b"), ("", ""), ("a||b", r"a\|\|b")])
def test_a_bar_does_not_end_its_cell(text: str, cell: str) -> None:
    assert plain(text) == cell


@given(st.text(), st.text())
@example("a *", "* b")
@example("<", "b>")
@example("[a]", "(b)")
def test_two_in_a_cell_make_nothing_together(one: str, other: str) -> None:
    children = rendered(f"kept {plain(one)} of {plain(other)}, like {plain(one)}")
    assert {token.type for token in children} <= {"text", "code_inline", "text_special"}
