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

from beam_export.naming import CARD_MARK, split_key
from beam_export.shards.card import code, dataset_card, describe_step, plain
from beam_export.shards.hub_features import HubMembers
from beam_export.shards.manifest import Manifest, SplitShards, Totals
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
    assert rest.startswith(CARD_MARK)
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
    assert text.count(CARD_MARK) == 1
    assert "# Images, 11,500 in 12 shards" in text
    assert "1.23 GB" in text
    assert "| `score` | double |" in text
    assert "| `read` | samples: 11501, skipped: {'.txt': 1} |" in text
    assert f"`images-{HASH}-manifest.json`" in text
    assert text.endswith("\n")


def test_it_has_the_types_of_all_members_and_the_size_of_all() -> None:
    hub = HubMembers(images=["jpg"], fields=["cls"], arrays={}, classes=["<b>", "c\u202e\n---\n"])
    text = dataset_card(manifest(), hub=hub).decode()
    info = front_matter(text)["dataset_info"]
    assert [one["name"] for one in info["features"]] == ["jpg", "cls", "__key__", "__url__"]
    names = info["features"][1]["dtype"]["class_label"]["names"]
    assert names == {"0": "<b>", "1": "c\u202e\n---\n"}
    assert info["splits"] == [{"name": "train", "num_bytes": 1_234_567_890, "num_examples": 11_500}]
    assert "<b>" not in text
    assert "\u202e" not in text


def test_types_that_are_not_known_are_left_out() -> None:
    assert list(front_matter(card())["dataset_info"]) == ["splits"]


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


def split(name: str, first: int, shards: int, samples: int) -> SplitShards:
    return SplitShards(
        name=name,
        key=split_key(name),
        first_shard=first,
        shards=shards,
        samples=samples,
        bytes=samples * 1000,
    )


SPLITS = [
    split("train", 0, 9, 9000),
    split("val-1", 9, 3, 2500),
    split("nobody", 12, 0, 0),
    split("007", 12, 1, 1),
]


def test_splits_are_what_a_hub_reads() -> None:
    matter = front_matter(card(splits=SPLITS, shards=13, written=11_501))
    (config,) = matter["configs"]
    tar = f"images-{HASH}-0000"
    assert config["data_files"] == [
        {"split": "train", "path": [f"{tar}0[0-8].tar"]},
        {"split": "val_1", "path": [f"{tar}09.tar", f"{tar}1[0-1].tar"]},
        # Text, though it is made of digits.
        {"split": "007", "path": [f"{tar}12.tar"]},
    ]
    assert matter["dataset_info"]["splits"] == [
        {"name": "train", "num_bytes": 9_000_000, "num_examples": 9000},
        {"name": "val_1", "num_bytes": 2_500_000, "num_examples": 2500},
        {"name": "007", "num_bytes": 1000, "num_examples": 1},
    ]
    assert matter["size_categories"] == ["10K<n<100K"]


def test_splits_stand_in_the_text_and_in_its_code() -> None:
    steps = [{"step": "split", "split": "column", "samples": {"val-1": 2500, "train": 9001}}]
    text = card(splits=SPLITS, shards=13, steps=steps)
    assert "nobody" not in text
    assert f'WebDataset("images-{HASH}-{{000000..000008}}.tar"' in text
    assert "| split | for loaders | images | shards | tars |\n|---|---|---|---|---|\n" in text
    assert "| `train` | `train` | 9,000 | 9 |" in text
    assert f"| `val-1` | `val_1` | 2,500 | 3 | `images-{HASH}-{{000009..000011}}.tar` |" in text
    assert "| split | images | shards | tars |\n|---|---|---|---|\n" in card(splits=SPLITS[:1])
    assert 'load_dataset(os.getcwd(), split="train")' in text
    assert "| `split` | split by column: val-1 2,500, train 9,001 |" in text
    for block in text.split("```python\n")[1:]:
        compile(block.split("```")[0], "card", "exec")


def test_no_name_of_a_split_is_markdown() -> None:
    def filled(name: str) -> str:
        step = {"step": "split", "split": name, "samples": {name: 1}}
        return card(splits=[split(name, 0, 1, 1)], steps=[step], shards=1)

    hostile = filled(HOSTILE_NAME)
    assert [one for one in elements(hostile) if one != "code"] == [
        one for one in elements(filled("a b")) if one != "code"
    ]
    assert front_matter(hostile)["configs"][0]["data_files"][0]["split"].isidentifier()


def test_members_are_described_by_what_was_done_about_them() -> None:
    step = {"step": "members", "samples": 1_000, "members": {"txt": 9}, "unequal": False}
    assert describe_step(step) == "all samples have the same members"
    assert describe_step(step | {"unequal": True, "json": "json", "json_columns": ["a"]}) == (
        "wrote 1 column as each sample's .json too; samples have unequal members: .txt in 9 of "
        "1,000"
    )
    assert describe_step(step | {"dropped": {"a_b": 1, "txt": 1_234}}) == (
        "left out members that not all samples have: .a_b of 1 sample, .txt of 1,234 samples"
    )
    assert describe_step(step | {"filled": {"txt": 5}}) == (
        "added empty members where samples lack them: .txt of 5 samples"
    )
