"""Tars to refs: what a Parquet beside a tar adds, and that nothing vanishes between the two."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from support.foreign_tars import make_tar, own_table
from support.tar_items import URI, refs_of

from beam_export.samples import Failure, SampleRef
from beam_export.sources.json_metadata import MAX_JSON
from beam_export.sources.tar.exports import (
    read_export_table,
)
from beam_export.sources.tar.refs import Spill, tar_refs
from beam_export.sources.tar.walk import stream_members


def test_refs_say_where_all_members_lie_and_json_is_metadata() -> None:
    tar = make_tar([("k.json", b'{"score": 0.5, "n": [1]}'), ("k.jpg", b"JPEG"), ("k.txt", b"")])
    (ref,) = refs_of(tar)
    assert isinstance(ref, SampleRef)
    assert (ref.id, ref.path, ref.size) == ("k", "dir/x.tar#k.jpg", 4)
    assert ref.metadata == {"score": 0.5, "n": [1]}
    assert [field.ext for field in ref.fields] == ["json", "txt"]
    image = ref.image
    assert tar[image.offset : image.offset + image.size] == b"JPEG"


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"{", "ValueError"), (b'{"x"}', "ValueError"), (b"", "ValueError")],
)
def test_json_that_cannot_be_read_is_a_failure(content: bytes, error: str) -> None:
    (failure,) = refs_of(make_tar([("k.jpg", b"x"), ("k.json", content)]))
    assert isinstance(failure, Failure)
    assert (failure.image_id, failure.stage, failure.error) == ("k", "list", error)


@pytest.mark.parametrize(
    "content",
    [b"[1]", b'"x"', b'{"a": "' + b"x" * MAX_JSON + b'"}', b"{" + b"x" * MAX_JSON],
    ids=["list", "text", "large", "large and no JSON"],
)
def test_json_that_is_no_small_mapping_travels_without_columns(content: bytes) -> None:
    (ref,) = refs_of(make_tar([("k.jpg", b"x"), ("k.json", content)]))
    assert isinstance(ref, SampleRef)
    assert (ref.metadata, [field.size for field in ref.fields]) == ({}, [len(content)])


# Ours.


def test_rows_without_image_and_images_without_row_are_failures() -> None:
    tar = make_tar([("a.jpg", b"1"), ("b.jpg", b"2")])
    other = make_tar([("b.jpg", b"2"), ("c.jpg", b"3")])
    beside = read_export_table(own_table(other, {}, pa.schema([])))
    found = refs_of(tar, beside)
    failures = [one for one in found if isinstance(one, Failure)]
    assert [(one.image_id, one.error) for one in failures] == [
        ("a", "NoRow"),
        ("id of c.jpg", "NoMember"),
    ]
    assert len(found) == 3


def test_a_sample_that_has_failed_leaves_no_second_failure_for_its_row() -> None:
    tar = make_tar([("a.jpg", b"1"), ("a.jpg", b"2"), ("b.jpg", b"3")])
    beside = read_export_table(
        own_table(make_tar([("a.jpg", b"1"), ("b.jpg", b"3")]), {}, pa.schema([]))
    )
    found = refs_of(tar, beside)
    assert [one.error for one in found if isinstance(one, Failure)] == ["DuplicateMember"]


# NeMo Curator.


# img2dataset.


# Compressed.


def test_members_of_a_stream_are_spilled_and_named_by_their_tar() -> None:
    target = io.BytesIO()
    spill = Spill(target)
    members = [("a.jpg", b"JPEG"), ("a.json", b'{"x": 1}'), ("b.json", b""), ("b.jpg", b"2")]
    items = list(spill.members(stream_members(io.BytesIO(make_tar(members)), 100)))
    ref, failure = tar_refs(items, URI, spill.read, None, "spill-1")
    assert isinstance(ref, SampleRef)
    assert (ref.path, ref.metadata, ref.image.uri) == ("dir/x.tar#a.jpg", {"x": 1}, "spill-1")
    data = target.getvalue()
    assert data[ref.image.offset : ref.image.offset + ref.image.size] == b"JPEG"
    assert isinstance(failure, Failure)
    assert failure.original_path == "dir/x.tar#b.jpg"
