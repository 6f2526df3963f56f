from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from beam_export.shards.card import MARK, dataset_card
from beam_export.shards.manifest import Manifest, Totals

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


HOSTILE = "`<img src=x onerror=alert(1)>`\n---\n[a](http://b.c) \x1b[31m|" + "x" * 10**6


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

    hostile = filled(HOSTILE)
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
