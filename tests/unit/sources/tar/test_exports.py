from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pytest
from support.foreign_tars import TRIPLES, make_tar, own_table, table
from support.tar_items import refs_of

from beam_export.samples import Earlier, Failure, SampleRef
from beam_export.sources.entries import Skipped
from beam_export.sources.tar.exports import (
    CURATOR,
    IMG2DATASET,
    OWN,
    read_export_table,
)

SCORE = pa.schema([("score", pa.float32()), ("input_width", pa.int64())])


def test_an_export_of_ours_comes_back_with_ids_paths_types_and_hashes() -> None:
    tar = make_tar([*TRIPLES, ("d.json", b"{not read")])
    beside = read_export_table(own_table(tar, {"d.jpg": {"score": 0.25, "input_width": 7}}, SCORE))
    assert beside is not None
    assert (beside.kind, beside.columns.remove_metadata()) == (OWN, SCORE)
    refs = refs_of(tar, beside)
    assert all(isinstance(ref, SampleRef) for ref in refs)
    assert [ref.id for ref in refs if isinstance(ref, SampleRef)] == [
        "id of a.jpg",
        "id of b/c.jpg",
        "id of d.jpg",
    ]
    last = refs[-1]
    assert isinstance(last, SampleRef)
    assert last.path == "from/d.jpg"
    assert last.metadata == {"score": 0.25, "input_width": 7}
    assert last.typed == ("score", "input_width")
    assert last.earlier == Earlier("ab" * 32)
    assert [field.ext for field in last.fields] == ["cls", "json", "txt"]


def curator_table(rows: Sequence[tuple[str, str, str]]) -> bytes:
    return table(
        [
            {
                "image_id": ident,
                "tar_file": "x.tar",
                "member_name": f"{ident}.jpg",
                "original_path": path,
                "metadata": metadata,
            }
            for ident, path, metadata in rows
        ]
    )


def test_a_curator_export_has_its_metadata_as_columns_and_ids_with_dots() -> None:
    tar = make_tar([("a.b.jpg", b"1"), ("a.c.jpg", b"2"), ("../d.jpg", b"3")])
    kept = "{'x': <object at 0x1>}"
    rows = [("a.b", "p/1", "{'s': np.float64(0.5)}"), ("a.c", "", kept), ("../d", "p/3", "None")]
    beside = read_export_table(curator_table(rows))
    assert beside is not None
    assert beside.kind == CURATOR
    refs = [ref for ref in refs_of(tar, beside) if isinstance(ref, SampleRef)]
    assert [(ref.id, ref.path, ref.metadata) for ref in refs] == [
        ("a.b", "p/1", {"s": 0.5}),
        ("a.c", "dir/x.tar#a.c.jpg", {"metadata": kept}),
        ("../d", "p/3", {}),
    ]
    assert [tar[ref.image.offset : ref.image.offset + 1] for ref in refs] == [b"1", b"2", b"3"]


def test_equal_names_of_a_curator_export_meet_their_rows_in_order() -> None:
    tar = make_tar([("a.jpg", b"1"), ("a.jpg", b"2"), ("a.jpg", b"3")])
    beside = read_export_table(curator_table([("a", "p/1", "{}"), ("a", "p/2", "{}")]))
    found = refs_of(tar, beside)
    assert [one.path for one in found if isinstance(one, SampleRef)] == ["p/1", "p/2"]
    assert [one.error for one in found if isinstance(one, Failure)] == ["NoRow"]


def test_what_a_curator_tar_cannot_give_is_told() -> None:
    whole = make_tar([("a.jpg", b"1"), ("b.jpg", b"2"), ("c.bin", b"")])
    beside = read_export_table(curator_table([("a", "", "{}"), ("b", "", "{}")]))
    found = refs_of(whole[:1100] + b"\1" * 512 + whole[1612:], beside)
    assert [type(one) for one in found] == [SampleRef, Failure, Failure]
    assert [one.error for one in found if isinstance(one, Failure)] == ["BrokenSource", "NoMember"]
    assert Skipped(".bin") in refs_of(whole, beside)


def test_failed_rows_of_img2dataset_are_listed_with_their_reason() -> None:
    rows = [
        {"key": "0", "url": "u/0", "status": "success", "error_message": None, "width": 5},
        {"key": "1", "url": "u/1", "status": "failed_to_download", "error_message": "404\n"},
        {"key": "2", "url": "u/2", "status": "success", "error_message": None, "width": 6},
    ]
    beside = read_export_table(table(rows))
    assert beside is not None
    assert beside.kind == IMG2DATASET
    members = [("0.jpg", b"1"), ("0.json", json.dumps({"more": 1, "width": "5"}).encode())]
    ref, *failures = refs_of(make_tar(members), beside)
    assert isinstance(ref, SampleRef)
    assert ref.metadata == {"more": 1, **rows[0]}
    assert ref.id == "0"
    assert "more" not in ref.typed
    assert [one[:4] for one in failures if isinstance(one, Failure)] == [
        ("1", "u/1", "list", "failed_to_download"),
        ("2", "dir/x.tar#2", "list", "NoMember"),
    ]
    assert isinstance(failures[0], Failure)
    assert failures[0].message == "404"


def test_a_table_of_no_export_is_none_of_ours_and_damage_is_told() -> None:
    assert read_export_table(table([{"key": "a", "caption": "x"}])) is None
    whole = own_table(make_tar(TRIPLES), {}, pa.schema([]))
    for damaged in (b"", b"PAR1", whole[:-20], whole[: len(whole) // 2], b"\0" * 100):
        with pytest.raises(ValueError, match="damaged"):
            read_export_table(damaged)
