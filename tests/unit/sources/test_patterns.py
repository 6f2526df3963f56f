from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.sources.patterns import (
    Pattern,
    expand_braces,
    names_in,
    parse_inputs,
    split_inputs,
    translate_glob,
)

words = st.text("ab/. é\n", min_size=1, max_size=4).filter(lambda word: word == word.strip())
names = st.text("ab]-!^.\\\n", max_size=5)


def paths(text: str) -> list[str]:
    return [pattern.path for pattern in parse_inputs(text)]


@given(st.lists(words, min_size=1, max_size=5))
def test_split_is_the_inverse_of_join(parts: list[str]) -> None:
    assert split_inputs(",".join(parts)) == parts
    assert split_inputs(" , ".join([*parts, ""])) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b/{x,y}.jpg", ["a", "b/{x,y}.jpg"]),
        ("{a,b},{c,d}", ["{a,b}", "{c,d}"]),
        ("a}b,c", ["a}b", "c"]),
        ("a b , c", ["a b", "c"]),
        (",,", []),
        ("", []),
    ],
)
def test_split(text: str, parts: list[str]) -> None:
    assert split_inputs(text) == parts


@given(words, st.lists(words, min_size=2, max_size=4), words)
def test_choices_stand_in_their_order(before: str, inner: list[str], after: str) -> None:
    text = f"{before}{{{','.join(inner)}}}{after}"
    assert list(expand_braces(text)) == [before + one + after for one in inner]


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 6))
def test_ranges_count_up_and_down_and_keep_their_padding(first: int, last: int, width: int) -> None:
    text = f"{{{first:0{width}d}..{last:0{width}d}}}"
    step = 1 if first <= last else -1
    numbers = range(first, last + step, step)
    longest = max(width, len(str(first)), len(str(last)))
    padded = width > min(len(str(first)), len(str(last)))
    assert list(expand_braces(text)) == [
        f"{number:0{longest}d}" if padded else str(number) for number in numbers
    ]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("{0..10}", [str(number) for number in range(11)]),
        ("{08..10}", ["08", "09", "10"]),
        ("{8..010}", ["008", "009", "010"]),
        ("{10..08}", ["10", "09", "08"]),
        ("{3..3}", ["3"]),
        ("{a,b}{1..2}", ["a1", "a2", "b1", "b2"]),
        ("x{,y}", ["x", "xy"]),
        # As in a shell: braces without a comma or a range are letters of a name.
        ("{x}", ["{x}"]),
        ("{}", ["{}"]),
        ("{{x}}", ["{{x}}"]),
        ("{a,b", ["{a,b"]),
        ("a}{b,c}", ["a}b", "a}c"]),
        ("{x{1,2}", ["{x1", "{x2"]),
        ("{1..}", ["{1..}"]),
        ("{-1..2}", ["{-1..2}"]),
        ("{٠..٣}", ["{٠..٣}"]),
    ],
)
def test_expand(text: str, expanded: list[str]) -> None:
    assert list(expand_braces(text)) == expanded


@given(st.text("{}{},..12a/*", max_size=15))
def test_any_text_gives_patterns_or_a_sentence(text: str) -> None:
    try:
        patterns = parse_inputs(text)
    except InputError:
        return
    assert [pattern.number for pattern in patterns] == list(range(len(patterns)))
    assert all(pattern.path for pattern in patterns)


@pytest.mark.parametrize("text", ["{a,{b,c}}", "x/{{1..3},b}/*", "{a,{b,c},{d,e}}"])
def test_nested_braces_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="braces within braces"):
        parse_inputs(text)


@pytest.mark.parametrize("text", ["", " ", ",", "{,}"])
def test_naming_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="names nothing"):
        parse_inputs(text)


def test_an_absurd_range_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.sources.patterns._MOST_EXPANDED", 10)
    assert len(parse_inputs("{0..9}")) == 10
    with pytest.raises(InputError, match=r"--input=\{0\.\.99999999999\} stands for more than 10"):
        parse_inputs("{0..99999999999}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photos", [("photos", "")]),
        ("d/*.jpg", [("d/*.jpg", "d/")]),
        ("*.jpg", [("*.jpg", "./")]),
        ("{x,y}/z", [("x/z", "./"), ("y/z", "./")]),
        ("d/e{1..2}/*", [("d/e1/*", "d/"), ("d/e2/*", "d/")]),
        ("d/{x}/y", [("d/{x}/y", "")]),
        ("gs://b/t/{0..1}", [("gs://b/t/0", "gs://b/t/"), ("gs://b/t/1", "gs://b/t/")]),
        ("a,d/[xy]", [("a", ""), ("d/[xy]", "d/")]),
    ],
)
def test_the_root_is_what_stands_before_the_first_choice(
    text: str, expected: list[tuple[str, str]]
) -> None:
    assert [(pattern.path, pattern.root) for pattern in parse_inputs(text)] == expected


def test_wildcards_make_a_glob_and_braces_do_not() -> None:
    assert [one.is_glob for one in parse_inputs("a*,a?,[a],{x},b")] == [True] * 3 + [False] * 2
    assert Pattern(0, "d/a*b?", "d/", "").fixed == "d/a"
    assert Pattern(0, "d/a", "", "").fixed == "d/a"


def matches(glob: str, path: str) -> bool:
    return re.fullmatch(translate_glob(glob), path) is not None


@pytest.mark.parametrize(
    ("glob", "inside", "outside"),
    [
        ("*.jpg", ["a.jpg", ".jpg", "a\n.jpg", "a\\b.jpg"], ["a/b.jpg", "a.jpgx", "a.JPG"]),
        ("a?c", ["abc", "a\nc"], ["a/c", "ac"]),
        ("[ab]/*", ["a/x", "b/"], ["c/x", "a/b/c"]),
        ("[!ab]x", ["cx", "\nx"], ["ax", "/x"]),
        ("[^a]", ["^", "a"], ["b"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[a-c]", ["b"], ["-", "d"]),
        ("[", ["["], ["a"]),
        ("[]", ["[]"], [""]),
        ("**/x*", ["x1.jpg", "a/x", "a/b/x.jpg"], ["ax", "a/x/y"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("a**", ["a", "a/b/c", "abc"], ["b"]),
        ("a+(b).c", ["a+(b).c"], ["aab.c", "a+(b)xc"]),
    ],
)
def test_globs(glob: str, inside: list[str], outside: list[str]) -> None:
    assert [path for path in inside if not matches(glob, path)] == []
    assert [path for path in outside if matches(glob, path)] == []


@given(st.text("ab*?.\\^\n", max_size=6), names)
def test_globs_of_one_name_agree_with_fnmatch(glob: str, name: str) -> None:
    assert matches(glob, name) == fnmatch.fnmatchcase(name, glob)


@given(st.text("ab/.[]{}()^$\\|~&\n", max_size=8))
def test_any_glob_can_be_translated(glob: str) -> None:
    translate_glob(glob)


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(InputError, match=r"'\[z-a\]' is no pattern"):
        translate_glob("[z-a]")


# Names that exist.


@pytest.mark.parametrize(
    "name",
    [
        "a,b",
        "photos [old]",
        "x[1].jpg",
        "{a,b}",
        "a{1..3}",
        "{000..123}.tar",
        "what?.jpg",
        "*.jpg",
        "a, b,c ,d",
        "a{b,c",
        "~",
        "~/x",
        " a",
    ],
)
def test_a_name_that_exists_is_meant_as_such(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir(parents=True)
    assert parse_inputs(name) == [Pattern(0, name, "", name)]
    assert paths(f"{tmp_path}/{name}") == [f"{tmp_path}/{name}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b,c", ["a,b", "c"]),
        ("c,a,b", ["c", "a,b"]),
        ("c , a,b ,d{1,2}", ["c", "a,b", "d1", "d2"]),
        ("a,c,b", ["a", "c", "b"]),
        ("x[1].jpg,y[12].jpg", ["x[1].jpg", "y[12].jpg"]),
        ("a,b/{1,2}", ["a", "b/1", "b/2"]),
    ],
)
def test_in_a_list_the_longest_name_that_exists_is_one(
    text: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "x[1].jpg"):
        (tmp_path / name).touch()
    assert paths(text) == expected


def test_home_is_expanded_in_each_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/nobody-at-all")
    assert paths("~/a,~/b{1,2},c/~") == [
        "/home/nobody-at-all/a",
        "/home/nobody-at-all/b1",
        "/home/nobody-at-all/b2",
        "c/~",
    ]


def test_names_in_a_list_keep_their_commas_if_they_exist(tmp_path: Path) -> None:
    (tmp_path / "a,b.csv").touch()
    given = f"{tmp_path}/a,b.csv"
    assert names_in(given) == [given]
    assert names_in(f"{given},{tmp_path}/c.csv") == [given, f"{tmp_path}/c.csv"]
    assert names_in("") == []
