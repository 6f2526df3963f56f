from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_export.naming import ShardNames
from beam_export.verify.against_input import (
    ColumnDigests,
    KeySpan,
    PlacedKey,
    Rules,
    SampleDigests,
    check_order_in_shard,
    check_order_of_shards,
    differences,
    image_digest,
    members_of,
    rules_of,
)
from beam_export.verify.members import Origin

RULES = Rules(columns=("score", "tag"))


def digests(**given: Any) -> SampleDigests:
    columns = pa.schema([("score", pa.float64()), ("tag", pa.string())])
    values = ColumnDigests(columns, RULES)
    metadata = {"score": 0.5, "tag": None, **given.pop("metadata", {})}
    members = members_of({"txt": "a" * 64, "json": "b" * 64, **given.pop("members", {})}.items())
    made = given.pop("columns", values.of_row(metadata))
    return SampleDigests(members=members, columns=made, **given)


def given_columns(**metadata: Any) -> str:
    columns = pa.schema([("score", pa.float64()), ("tag", pa.string())])
    return ColumnDigests(columns, RULES).of_input([metadata])[0]


def test_a_row_that_is_what_its_sample_makes_of_it() -> None:
    assert list(differences(digests(), digests(columns=given_columns(score=0.5)), RULES)) == []
    # As the column stores it: 1 among floats, nothing for an empty mapping.
    whole = digests(metadata={"score": 1.0})
    assert list(differences(whole, digests(columns=given_columns(score=1, tag={})), RULES)) == []
    joined = RULES._replace(joined=True)
    named = digests(metadata={"tag": "of a table"})
    assert list(differences(named, digests(columns=given_columns(score=0.5)), joined)) == []
    # An image that was not encoded again proves nothing.
    assert list(differences(digests(image="1"), digests(), RULES)) == []


@pytest.mark.parametrize(
    ("row", "given", "words", "of_tar"),
    [
        (digests(metadata={"score": 0.25}), digests(), "column 'score' is not what", False),
        (digests(metadata={"tag": "x"}), digests(), "column 'tag' is not what", False),
        (digests(metadata={"tag": "x"}), digests(columns=given_columns(score=0.5)), "'tag'", False),
        (digests(), digests(columns=given_columns(score="high")), "column 'score' is not", False),
        (digests(members={"txt": "c" * 64}), digests(), "its .txt is not the one", True),
        (digests(members={"cls": "c" * 64}), digests(), "it has a member .cls", True),
        (digests(), digests(members={"seg.png": "c" * 64}), "it lacks the member .seg.png", True),
        (digests(image="1 a"), digests(image="2 a"), "its image is not what the input's", True),
        (
            digests(image=image_digest("1", "copied", 3, 4)),
            digests(image=image_digest("1", "encoded", 3, 4)),
            "its image is 'encoded, 3 x 4', and the row says otherwise",
            False,
        ),
    ],
)
def test_a_row_that_is_not(
    row: SampleDigests, given: SampleDigests, words: str, of_tar: bool
) -> None:
    ((problem, tar),) = differences(row, given, RULES)
    assert words in problem
    assert tar is of_tar


def test_what_an_export_has_made_needs_no_counterpart() -> None:
    manifest = {"options": {"caption_column": "tag"}, "steps": [{"step": "join"}]}
    rules = rules_of(manifest, ["score", "tag"], Origin())
    assert rules == Rules(("score", "tag"), True, frozenset({"txt"}))
    split = Origin(others=frozenset({"split"}))
    rules = rules_of({**manifest, "options": {"split": "a=1"}}, ["input_split", "split"], split)
    assert (rules.columns, rules.taken, rules.ordered) == (("input_split",), {"split"}, True)
    assert rules_of(None, ["score"], Origin()).columns == ()


def test_order() -> None:
    names = ShardNames("0123456789ab")
    keys = [PlacedKey(1, 0, "10", "a"), PlacedKey(1, 1, "12", "b"), PlacedKey(1, 3, "15", "c")]
    assert check_order_in_shard(reversed(keys), names) == (KeySpan(1, "10", "15"), [])
    swapped = [keys[0]._replace(key="15"), keys[1], keys[2]._replace(key="10")]
    span, faults = check_order_in_shard(swapped, names)
    assert span == KeySpan(1, "10", "15")
    assert [fault.member for fault in faults] == ["a", "c"]
    assert check_order_of_shards([KeySpan(1, "10", "15"), KeySpan(0, "01", "0f")], names) == []
    spans = [KeySpan(0, "10", "15"), KeySpan(1, "01", "0f")]
    (fault,) = check_order_of_shards(spans, names)
    assert fault.file == names.parquet(1)
    # Within a split samples are in order, and not beyond it.
    assert check_order_of_shards(spans, names, {0, 1}) == []
    (fault,) = check_order_of_shards([*spans, KeySpan(2, "0a", "0c")], names, {0, 1})
    assert fault.file == names.parquet(2)


def test_members_that_were_made_added_or_left_out_are_known() -> None:
    step = {"step": "members", "json": "meta.json"}
    options = {"json_columns": "all", "ragged_fields": "fill", "labels": "folder"}
    rules = rules_of({"options": options, "steps": [step]}, [], Origin())
    assert rules.made == {"meta.json", "cls"}
    assert rules.more == {"txt", "json"}
    assert rules.remade
    made = digests(members={"meta.json": "c" * 64, "cls": "d" * 64})
    assert list(differences(made, digests(), rules._replace(columns=RULES.columns))) == []
    plain = rules_of({"options": {"json_columns": "all"}, "steps": []}, [], Origin())
    assert (plain.made, plain.more, plain.fewer) == ({"json"}, frozenset(), False)
    assert rules_of({"options": {"ragged_fields": "drop"}, "steps": []}, [], Origin()).fewer


def test_what_was_filled_in_is_no_other_members_excuse() -> None:
    rules = RULES._replace(more=frozenset({"txt", "cap.txt"}))
    assert list(differences(digests(members={"cap.txt": "c" * 64}), digests(), rules)) == []
    ((problem, _),) = differences(digests(members={"txt": "c" * 64}), digests(), rules)
    assert problem == "its .txt is not the one that the input has"
    ((problem, _),) = differences(digests(members={"xml": "c" * 64}), digests(), rules)
    assert problem.startswith("it has a member .xml")
