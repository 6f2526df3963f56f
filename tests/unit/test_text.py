from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.text import cut, encoding_name, escaped, shown

ANY = st.text(st.characters(exclude_categories=[]))


@pytest.mark.parametrize(
    ("given_text", "made"),
    [
        ("größe 日本", "größe 日本"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("a\u202eb\u2066\u2028\u200f", "a\\u202eb\\u2066\\u2028\\u200f"),
        ("caf\udce9", "caf\\xe9"),
        ("\ud83d", "\\ud83d"),
        # What `repr` has escaped is not escaped once more.
        (repr("a\x1b\u202e"), "'a\\x1b\\u202e'"),
        ("C:\\x1b", "C:\\x1b"),
    ],
)
def test_what_acts_is_escaped_once(given_text: str, made: str) -> None:
    assert shown(given_text) == made
    assert shown(made) == made


@given(ANY)
def test_nothing_in_a_line_that_is_shown_acts(text: str) -> None:
    line = shown(text)
    assert not [char for char in line if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [
        char
        for char in line
        if unicodedata.bidirectional(char)[-1:] in "EIO"
        and unicodedata.bidirectional(char)
        in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]
    line.encode()
    assert len(line.splitlines()) <= 1


@given(ANY)
def test_harmless_text_is_shown_as_it_is(text: str) -> None:
    if len(text) <= 200 and escaped(text) == text:
        assert shown(text) == text


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_value_is_cut_and_what_to_do_is_not(quote: str) -> None:
    value = "x y " * 140_000
    said = shown(f"the sample's row has {quote}{value}{quote} in column 'a': make it a number.")
    assert said.startswith(f"the sample's row has {quote}x y x y")
    assert said.endswith(" in column 'a': make it a number.")
    assert len(said) < 3100


def test_a_value_in_quotes_says_how_long_it_was() -> None:
    said = shown(f"it has {'z' * 5000!r} and 'short': mend it's end.")
    assert said == f"it has {cut('z' * 5000)!r} and 'short': mend it's end."
    assert "... (5,000 characters)'" in said


def test_a_word_is_cut_but_a_path_is_not() -> None:
    path = "/home/somebody" * 60
    assert shown(f"{path} is not there: look.") == f"{path} is not there: look."
    said = shown(f"{'w' * 5000} is not there: look.")
    assert said == f"{cut('w' * 5000, 1000)} is not there: look."


def test_a_sentence_loses_its_middle() -> None:
    said = shown("begin " + "it's a word " * 50_000 + "do this.")
    assert said.startswith("begin it's a word")
    assert said.endswith("it's a word do this.")
    assert "characters left out" in said
    assert len(said) < 3100


@given(ANY, st.integers(40, 300))
def test_cut_text_is_short_and_stays_so(text: str, most: int) -> None:
    made = cut(text, most)
    assert len(made) <= most
    assert cut(made, most) == made
    assert made == text or f"({len(text):,} characters)" in made


def test_names_of_encodings() -> None:
    names = ("UTF8", "utf_8_sig", "Windows-1252", "latin-1", "utf-16")
    assert [encoding_name(name) for name in names] == [
        *("utf-8", "utf-8", "cp1252", "iso8859-1", "utf-16-le"),
    ]
    for name in ("base64", "rot13", "utf-9", "a\0b", "hex", "IDNA", "punycode", "undefined"):
        with pytest.raises(LookupError):
            encoding_name(name)
