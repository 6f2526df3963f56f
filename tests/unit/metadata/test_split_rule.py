"""The rule of `--split`: what may be written, and exact intervals of fractions."""

from __future__ import annotations

import hashlib
import itertools
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.metadata.split_rule import SplitRule, bounds_of, first_folder, parse_split


def place(ident: str) -> Fraction:
    """Returns where an id lies in [0, 1), by another way than the module's."""
    digest = hashlib.sha256(b"split:" + ident.encode("utf-8", "surrogatepass")).hexdigest()
    return Fraction(int(digest, 16), 2**256)


def rule_of(counts: list[int], digits: int) -> SplitRule:
    """Returns the rule of fractions that are these parts of 10^digits."""
    written = [f"{count:0{digits + 1}d}" for count in counts]
    decimals = [f"{one[:-digits]}.{one[-digits:]}" for one in written]
    return parse_split(",".join(f"s{at}={one}" for at, one in enumerate(decimals)))


@st.composite
def rules(draw: st.DrawFn) -> tuple[SplitRule, list[Fraction]]:
    """Draws a rule, and the bounds that its intervals must have."""
    digits = draw(st.integers(1, 30))
    scale = 10**digits
    cuts = sorted(draw(st.lists(st.integers(0, scale), max_size=5)))
    edges = [0, *cuts, scale]
    counts = [after - before for before, after in itertools.pairwise(edges)]
    return rule_of(counts, digits), [Fraction(cut, scale) for cut in cuts]


@given(rules(), st.text(st.characters(exclude_categories=[])))
def test_an_id_lies_in_the_interval_of_its_split(
    made: tuple[SplitRule, list[Fraction]], ident: str
) -> None:
    rule, cuts = made
    where = place(ident)
    assert rule.number_of(ident) == sum(cut <= where for cut in cuts)


@given(rules())
def test_bounds_are_the_first_integers_of_their_intervals(
    made: tuple[SplitRule, list[Fraction]],
) -> None:
    rule, cuts = made
    for bound, cut in zip(bounds_of(rule), cuts, strict=True):
        assert Fraction(bound - 1, 2**256) < cut <= Fraction(bound, 2**256)
    for place in {0, 2**256 - 1, *(bound + by for bound in bounds_of(rule) for by in (-1, 0))}:
        if 0 <= place < 2**256:
            number = rule.number_at(place)
            assert number == sum(cut <= Fraction(place, 2**256) for cut in cuts)


def test_decimals_are_no_floats() -> None:
    # As floats, 0.1 + 0.2 + 0.7 is less than 1, and 0.3 - 0.1 is no 0.2.
    rule = parse_split("a=0.1,b=0.2,c=0.7")
    first, second = bounds_of(rule)
    assert (first * 10 - 2**256, second * 10 - 3 * 2**256) == (4, 2)
    tenth = "0." + "0" * 58 + "1"
    assert parse_split(f"a={tenth},b=0.{'9' * 59}").names == ("a", "b")


def test_the_bytes_that_are_hashed_are_pinned() -> None:
    # Whoever changes them moves the samples of all data that was ever split.
    rule = parse_split("train=0.9,val=0.1")
    names = [rule.names[rule.number_of(f"owl {number}")] for number in range(20)]
    assert [at for at, name in enumerate(names) if name == "val"] == [4, 13, 14, 15, 19]


@given(st.lists(st.text(max_size=8), unique=True), st.integers(1, 99))
def test_a_larger_fraction_takes_samples_and_gives_none_away(ids: list[str], percent: int) -> None:
    smaller = rule_of([percent - 1, 101 - percent], 2)
    larger = rule_of([percent, 100 - percent], 2)
    for ident in ids:
        assert larger.number_of(ident) <= smaller.number_of(ident)


def test_shares_are_about_those_that_were_given() -> None:
    rule = parse_split("train=0.9,val=0.1")
    held = sum(rule.number_of(f"photo/{number}") for number in range(10_000))
    assert 900 < held < 1100


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("train=0.98,val=0.02", "train=0.98,val=0.02"),
        (" train = .90 , val=0.100", "train=0.9,val=0.1"),
        ("all=1", "all=1"),
        ("a=1.0,b=0", "a=1,b=0"),
        ("a=00.5,b=0.5", "a=0.5,b=0.5"),
        ("train set=0.5,größe=0.5", "train set=0.5,größe=0.5"),
        ("subset", "subset"),
        ("my column", "my column"),
        ("folder", "folder"),
    ],
)
def test_a_rule_is_written_in_one_way(given: str, text: str) -> None:
    rule = parse_split(given)
    assert rule.text == text
    assert parse_split(text) == parse_split(rule.text)
    assert rule.folder == (given == "folder")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("train=0.9,val=0.2", r"sums to 1\.1, not to 1"),
        ("train=0.9", r"sums to 0\.9, not to 1"),
        ("a=0.3333333,b=0.6666666", r"sums to 0\.9999999, not to 1"),
        ("a=90,b=10", "sums to 100, not to 1"),
        ("a=0.5,a=0.5", "names 'a' twice"),
        ("a=0.5,b", "has 'b', which is no name and decimal"),
        ("a=0.5,b=0.5,", "has '', which"),
        ("a=1,=0", "has '=0'"),
        ("a=1,b=", "has 'b='"),
        ("a=1,b=.", r"has 'b=\.'"),
        ("a=2,b=-1", "has 'b=-1'"),
        ("a=1e0", "has 'a=1e0'"),
        ("a=nan", "has 'a=nan'"),
        ("a=1/2,b=1/2", "has 'a=1/2'"),
        ("a=50%,b=50%", "has 'a=50%'"),
        ("a=١", "has 'a=١'"),
        ("a b=0.5,a-b=0.5", "makes 'a b' and 'a-b', and both become 'a_b'"),
    ],
)
def test_what_is_no_rule_is_a_sentence(given: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse_split(given)
    assert ": give" in caught.value.sentence


@pytest.mark.parametrize(
    ("ident", "folder"),
    [
        ("train/1", "train"),
        ("train/cat/1", "train"),
        ("/data/cat/1", "data"),
        ("gs://bucket/train/1", "bucket"),
        ("1", None),
        ("/1", None),
        ("", None),
        ("a b.c/ü", "a b.c"),
    ],
)
def test_the_first_folder(ident: str, folder: str | None) -> None:
    assert first_folder(ident) == folder


@given(st.text())
@example("//")
def test_a_first_folder_has_text(ident: str) -> None:
    assert first_folder(ident) != ""
