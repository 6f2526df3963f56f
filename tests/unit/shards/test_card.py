from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from beam_export.shards.card import MARK, code, dataset_card, describe_step, plain
from beam_export.shards.manifest import Manifest, Totals
from beam_export.text import cut, escaped

HASH = "0123456789ab"


def manifest(shards: int = 12, written: int = 11_500, **given_values: Any) -> Manifest:
    zeros = {field.name: 0 for field in dataclasses.fields(Totals)}
    counts = {"shards": shards, "written": written, "bytes": 1_234_567_890}
    values: dict[str, Any] = {
        "hash": HASH,
        "options": {"images_per_tar": 1000},
        "software": {},
        "steps": [
            {"step": "read", "samples": 11_501, "skipped": {".txt": 1}},
            {"step": "write", "shards": shards},
        ],
        "schema": [{"name": "image_id", "type": "string"}, {"name": "score", "type": "double"}],
        "totals": Totals(**{**zeros, **counts}),
        "tables": [],
    }
    return Manifest(**{**values, **given_values})


def card(**given_values: Any) -> str:
    return dataset_card(manifest(**given_values)).decode("utf-8")


def front_matter(text: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the front matter")
    start, matter, rest = text.split("---\n", 2)
    assert start == ""
    assert rest.startswith(MARK)
    return yaml.safe_load(matter)


def tables(text: str) -> list[list[str]]:
    """Returns the cells of every row of the tables, a bar that is escaped being text."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [row.replace("\\|", "").strip("|").split("|") for row in rows]


def test_front_matter_is_what_a_hub_reads() -> None:
    matter = front_matter(card())
    assert matter["configs"] == [{"config_name": "default", "data_files": f"images-{HASH}-*.tar"}]
    assert matter["size_categories"] == ["10K<n<100K"]


@pytest.mark.parametrize(
    ("samples", "category"),
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (9_999, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (10**6 - 1, "100K<n<1M"),
        (10**6, "1M<n<10M"),
        (10**7, "10M<n<100M"),
        (10**9 - 1, "100M<n<1B"),
        (10**9, "n>1B"),
    ],
)
def test_size_category(samples: int, category: str) -> None:
    assert front_matter(card(written=samples))["size_categories"] == [category]


@pytest.mark.parametrize(
    ("shards", "last"), [(1, "000000"), (12, "000011"), (1_000_001, "1000000")]
)
def test_it_names_every_shard(shards: int, last: str) -> None:
    assert f'WebDataset("images-{HASH}-{{000000..{last}}}.tar"' in card(shards=shards)


def test_it_tells_what_is_there_and_how_it_came_to_be() -> None:
    text = card()
    assert text.count(MARK) == 1
    assert "# Images, 11,500 in 12 shards" in text
    assert "1.23 GB" in text
    assert "| `score` | double |" in text
    assert "| `read` | samples: 11501, skipped: {'.txt': 1} |" in text
    assert f"`images-{HASH}-manifest.json`" in text
    assert text.endswith("\n")


def test_code_in_it_is_python() -> None:
    blocks = card().split("```python\n")[1:]
    assert len(blocks) == 3
    for block in blocks:
        compile(block.split("```")[0], "card", "exec")


def test_it_is_the_same_each_time() -> None:
    assert card() == card()


@pytest.mark.parametrize(
    "name", ["a|b", "a\nb", "a\r\nb", "a`b", "{x}", "---", "\udcff", "<!-- x", "", "\x85", "größe"]
)
def test_odd_names_break_nothing(name: str) -> None:
    text = card(schema=[{"name": name, "type": "string"}], steps=[{"step": "read", "x": name}])
    assert front_matter(text)
    assert {len(row) for row in tables(text)} == {2}
    assert len(tables(text)) == 6


def test_a_card_as_it_was_before_names_were_looked_at() -> None:
    kinds = {f".k{number}": number for number in range(60)}
    text = card(
        schema=[{"name": "a b", "type": "list<item: struct<x_y: double, z: string>>"}],
        steps=[{"step": "read", "failed": 0, "skipped": kinds}, {"step": "encode", "quality": 95}],
    )
    assert "| `a b` | list<item: struct<x_y: double, z: string>> |\n" in text
    assert f"| `read` | failed: 0, skipped: {kinds} |\n" in text
    assert "| `encode` | quality: 95 |\n" in text


HOSTILE_NAME = "`<img src=x onerror=alert(1)>`\n---\n[a](http://b.c) \x1b[31m|" + "x" * 10**6


def elements(text: str) -> list[str]:
    """Returns what a renderer makes of a card, other than its text."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": True}).parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    return [token.tag or token.type for token in (*tokens, *inline) if token.type != "text"]


def test_nothing_of_the_input_is_markdown() -> None:
    steps = [
        {"step": "read", "samples": 1, "skipped": {"{}": 1}},
        {"step": "keep ids", "file": "{}", "ids": 1, "ids_unmatched": 1, "dropped": 0}
        | {"ids_unmatched_examples": ["{}"]},
        {"step": "filter", "filter": "{}", "dropped": 1},
        {"step": "caption", "column": "{}"},
    ]
    join = {"table": "{}", "key": "{}", "rows": 1, "samples_matched": 1}
    join |= {"samples_unmatched": 1, "rows_unmatched": 1, "rows_unmatched_examples": ["{}"]}
    steps.append({"step": "join", **join})

    def filled(value: str) -> str:
        made = json.loads(json.dumps(steps).replace("{}", json.dumps(value)[1:-1]))
        schema = [{"name": value, "type": f"struct<{value}: string>"}]
        return card(schema=schema, steps=made)

    hostile = filled(HOSTILE_NAME)
    assert [one for one in elements(hostile) if one != "code"] == [
        one for one in elements(filled("a")) if one != "code"
    ]
    assert len(hostile) < 10_000
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", hostile)
    assert front_matter(hostile) == front_matter(card())


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_gives_a_card(text: str) -> None:
    # A step's name is one of ours; what it says may be anything.
    made = card(schema=[{"name": text, "type": text}], steps=[{"step": "a step", text: text}])
    assert len(tables(made)) == 6


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


def test_steps_are_told_in_words() -> None:
    ids = {"step": "keep ids", "file": "i.txt", "ids": 1, "ids_unmatched": 0, "dropped": 1234}
    assert describe_step(ids) == "kept only the 1 id of i.txt; left out 1,234 samples"
    join = {"step": "join", "table": "t,u.csv", "key": "image_id", "rows": 2}
    counts = {"samples_matched": 0, "samples_unmatched": 0, "rows_unmatched": 1}
    assert describe_step(join | counts | {"rows_unmatched_examples": ["x"]}) == (
        "joined the columns of t,u.csv (2 rows) by image_id: 0 samples with a row, 0 without, and "
        "1 row without a sample, like x"
    )
    assert describe_step({"step": "order", "order": "source"}) == "order: source"
