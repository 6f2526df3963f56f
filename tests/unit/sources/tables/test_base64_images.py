"""Images that stand in tables as text, by the column's name or plainly by their content."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import textwrap
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import picture

from beam_export.errors import InputError, SampleError
from beam_export.images.header import sniff
from beam_export.samples import Failure, Member, SampleRef
from beam_export.sources.entries import Source
from beam_export.sources.tables.base64_images import image_of_text, is_image_text
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.refs import (
    MeasuredImage,
    TablePlace,
    bytes_of_images,
    group_refs,
    measure_rows,
    with_measured_size,
)
from beam_export.sources.tables.roles import Roles, roles_of_table
from beam_export.sources.tables.text import TextTypes, scan_text, text_blocks
from beam_export.sources.tables.text_refs import check_paths, text_refs

JPG, PNG = picture(1), picture(2, "png")
B64 = base64.b64encode(JPG).decode()
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


@given(st.binary(), st.booleans(), st.booleans(), st.integers(1, 80))
def test_base64_comes_back_in_any_form(
    data: bytes, url_safe: bool, padded: bool, width: int
) -> None:
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    assert image_of_text("\r\n".join(textwrap.wrap(text, width))) == data
    assert image_of_text(f"data:image/jpeg;base64,{text}") == data


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (B64, True),
        (URI, True),
        (URI.upper()[:22] + URI[22:], True),
        ("data:image/webp;base64,", True),
        (base64.b64encode(PNG).decode(), True),
        (base64.urlsafe_b64encode(JPG).decode().rstrip("="), True),
        ("\n".join(textwrap.wrap(B64, 76)), True),
        ("/9j/4AAQSkZJRg/0.jpg", False),
        ("/9j/" + "long/folder-name/" * 8 + "0.jpg", False),
        ("data:text/plain;base64,YWJj", False),
        (base64.b64encode(b"no image at all " * 9).decode(), False),
        ("https://host/" + "a" * 90, False),
        ("a" * 200, False),
        ("", False),
        (None, False),
        (7, False),
        ([B64], False),
    ],
)
def test_only_what_is_plainly_an_image_is_taken_for_one(text: object, plain: bool) -> None:
    assert is_image_text(text) == plain


@pytest.mark.parametrize("text", ["cat.jpg", "a b.", "é", "data:image/png;base64,%%%", "A", "!!!"])
def test_what_is_no_base64_is_none(text: str) -> None:
    assert image_of_text(text) is None


def table(**columns: Any) -> ParquetTable:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return ParquetTable(file)


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        ({"image": [None, B64], "id": ["a", "b"]}, Roles("id", "image")),
        ({"image": [URI], "path": ["x.jpg"]}, Roles("", "image", "path")),
        ({"image_b64": ["x"], "file_name": ["x.jpg"]}, Roles("", "image_b64", "file_name")),
        ({"Base64": ["x"], "caption": [B64]}, Roles("", "Base64")),
        ({"content": [B64], "title": ["x"]}, Roles("", "content")),
        ({"url": [URI]}, Roles("", "url")),
        ({"image": ["a.jpg"]}, Roles("", "", "image")),
        ({"image": [JPG], "thumb_b64": [B64]}, Roles("", "image")),
        ({"image": pa.array([B64, B64]).dictionary_encode()}, Roles("", "image")),
    ],
)
def test_roles_follow_from_names_and_first_values(columns: dict[str, Any], roles: Roles) -> None:
    assert roles_of_table(table(**columns)) == roles


def test_images_of_a_column_of_parquet_are_measured_as_they_decode() -> None:
    given_ = table(image=[B64, None, URI, "no base64!", "", "!!!", "===="])
    found = dict(measure_rows(given_, 0, column="image", wanted=range(7)))
    assert found == {
        0: MeasuredImage(len(JPG), "jpg"),
        1: MeasuredImage(None, ""),
        2: MeasuredImage(len(PNG), "png"),
        3: MeasuredImage(None, "", other=True),
        4: MeasuredImage(None, ""),
        5: MeasuredImage(None, "", other=True),
        6: MeasuredImage(None, "", other=True),
    }


def refs_of(
    data: str,
    name: str,
    no_id: Callable[[str], None] = pytest.fail,
    types: TextTypes | None = None,
) -> tuple[list[SampleRef | Failure], list[bytes]]:
    kept: list[bytes] = []

    def keep(image: bytes) -> Member:
        kept.append(image)
        return Member("", "kept", len(kept), len(image))

    source = Source("table", name, f"/d/{name}", 1)
    found: list[SampleRef | Failure] = []
    usual = None
    for block in text_blocks(io.BytesIO(data.encode()), name):
        with contextlib.suppress(InputError):
            usual = usual or check_paths(block, source)
        refs = text_refs(block, types or TextTypes(), source, keep=keep, no_id=no_id, usual=usual)
        found.extend(refs)
    return found, kept


@pytest.mark.parametrize(
    ("row", "image", "metadata"),
    [
        ({"id": "x", "image": B64, "n": 1}, JPG, {"n": 1}),
        ({"id": "x", "image": URI, "file_name": "y.jpg"}, PNG, {}),
        ({"id": "x", "jpg": B64, "text": "a"}, JPG, {"text": "a"}),
        ({"id": "x", "image_base64": B64, "path": "p.jpg"}, JPG, {}),
        ({"id": "x", "image_bytes": B64, "b": B64}, JPG, {"b": B64}),
        ({"id": "x", "b64": "YWJj"}, b"abc", {}),
    ],
)
def test_images_in_json_lines_are_kept_apart(
    row: dict[str, Any], image: bytes, metadata: dict[str, Any]
) -> None:
    (ref,), kept = refs_of(json.dumps(row), "t.jsonl")
    assert isinstance(ref, SampleRef)
    assert (ref.id, ref.size, ref.image.uri) == ("x", len(image), "kept")
    assert (kept, ref.metadata) == ([image], metadata)


def test_a_row_without_an_image_in_base64_is_a_failure_and_a_path_stays_one() -> None:
    found, kept = refs_of(f"id,image_b64\na,{B64}\nb,\nc,not base64\n", "t.csv")
    assert [one.message for one in found if isinstance(one, Failure)] == [
        "its 'image_b64' has no image",
        "its 'image_b64' holds no image in base64",
    ]
    assert kept == [JPG]
    mixed, kept = refs_of(f"id,image\na,x.jpg\nb,{B64}\n", "t.csv")
    assert [one.image.uri for one in mixed if isinstance(one, SampleRef)] == ["/d/x.jpg", "kept"]


@pytest.mark.parametrize(
    ("rows", "failed"),
    [
        # Known by content alone: what stands in other rows of the column says what it is.
        (
            [{"blob": B64}, {"blob": ""}, {"blob": None}, {"n": 1}, {"blob": "no!"}],
            [
                ("t-1", "its 'blob' has no image"),
                ("t-2", "its 'blob' has no image"),
                ("t-3", "its 'blob' has no image"),
                ("t-4", "its 'blob' holds no image in base64"),
            ],
        ),
        ([{"id": "k0", "blob": ""}, {"blob": URI}], [("k0", "its 'blob' has no image")]),
        ([{"image": B64}, {"id": 7, "n": 1}], [("7", "its 'image' has no image")]),
        ([{"x": {"bytes": B64}}, {"x": None}], [("t-1", "its 'x' has no image")]),
        ([{"url": "a.jpg"}, {"n": 1}], [("t-1", "its row has no 'url'")]),
        (
            [{"blob": B64}, *[{"blob": B64, "n": n} for n in range(999)], {"blob": "", "n": 1}],
            [("t-1000", "its 'blob' has no image")],
        ),
        # Of two images none is guessed.
        ([{"a": B64}, {"a": B64, "b": B64}], [("t-1", "'a', 'b'")]),
        ([{"key": "k", "a": ""}], [("k", "columns are 'key', 'a'")]),
        ([{"a": ""}, {"n": 1}], [("t-0", "columns are 'a'"), ("t-1", "columns are 'n'")]),
    ],
)
def test_a_row_without_what_the_rows_beside_it_have_fails_under_its_own_id(
    rows: list[dict[str, Any]], failed: list[tuple[str, str]]
) -> None:
    data = "\n".join(map(json.dumps, rows))
    found, _ = refs_of(data, "t.jsonl", no_id=lambda _: None)
    lost = [one for one in found if isinstance(one, Failure)]
    assert [one.image_id for one in lost] == [ident for ident, _ in failed]
    for one, (_, said) in zip(lost, failed, strict=True):
        assert said in one.message


def ref_of(path: str) -> SampleRef:
    image = Member("", "/d/t.parquet", 3, -1, column="image_b64")
    return SampleRef(b"", "a", path, image, (), {}, -1)


@pytest.mark.parametrize("path", ["/d/t.parquet#3", "/d/x.jpg"])
def test_other_text_in_a_column_of_parquet_is_said_to_be_none(path: str) -> None:
    with pytest.raises(SampleError) as caught:
        with_measured_size(ref_of(path), MeasuredImage(None, "", other=True))
    assert caught.value.message == "its 'image_b64' holds no image in base64"


@pytest.mark.parametrize("value", [1.0, -0.5, True, [1], {"a": 1}])
def test_a_row_whose_column_of_ids_holds_none_is_told(value: Any) -> None:
    told: list[str] = []
    rows = [{"id": value, "image": "a/b.jpg"}, {"id": "x", "image": "c.jpg"}, {"image": "d.jpg"}]
    data = "".join(json.dumps(row) + "\n" for row in [*rows, {"id": None, "image": "e.jpg"}])
    found, _ = refs_of(data, "t.jsonl", told.append)
    assert [one.id for one in found if isinstance(one, SampleRef)] == ["a/b", "x", "d", "e"]
    kind = type(value).__name__
    assert told == [
        f"the table t.jsonl has {kind} in column 'id', and ids are text or whole numbers",
        # One without the column, and one with a null in it.
        *["the table t.jsonl has rows without an id in column 'id'"] * 2,
    ]


def test_ids_with_fractions_in_a_csv_are_told() -> None:
    told: list[str] = []
    data = "id,path\n1.0,a.jpg\n2.5,b.jpg\n,c.jpg\n"
    types = scan_text(io.BytesIO(data.encode()), "t.csv")
    assert types.converter("id")("1.0") == 1.0
    found, _ = refs_of(data, "t.csv", told.append, types)
    assert [one.id for one in found if isinstance(one, SampleRef)] == ["a", "b", "c"]
    assert told == [
        *["the table t.csv has float in column 'id', and ids are text or whole numbers"] * 2,
        "the table t.csv has rows without an id in column 'id'",
    ]


@pytest.mark.parametrize(
    ("name", "data", "lost"),
    [
        ("t.csv", "image_id,path\na,0.jpg\n,1.jpg\n", 1),
        ("t.csv", 'path,key\n0.jpg,""\n1.jpg,\n2.jpg,k\n', 2),
        ("t.jsonl", '{"id": "", "path": "0.jpg"}\n{"id": 0, "path": "1.jpg"}\n', 1),
        ("t.jsonl", '{"path": "0.jpg"}\n{"path": "1.jpg"}\n', 0),
    ],
)
def test_a_row_without_an_id_is_told_where_there_is_a_column_of_ids(
    name: str, data: str, lost: int
) -> None:
    told: list[str] = []
    found, _ = refs_of(data, name, told.append)
    assert all(isinstance(one, SampleRef) for one in found)
    assert len(told) == lost
    assert all("has rows without an id in column" in one for one in told)


def test_rows_of_parquet_without_an_id_are_counted() -> None:
    lost: list[int] = []
    opened = table(image_id=["a", None, "", "b"], path=["0.jpg", "1.jpg", "2.jpg", "3.jpg"])
    roles = roles_of_table(opened)
    (refs,) = group_refs(opened, 0, roles, TablePlace("t", "/d/t", b""), no_ids=lost.append)
    assert [one.id for one in refs if isinstance(one, SampleRef)] == ["a", "1", "2", "b"]
    assert sum(lost) == 2


# Text that comes as bytes, and Hugging Face's structs in JSON.


@pytest.mark.parametrize(
    "given",
    [
        B64.encode(),
        URI.encode(),
        b"\n" + B64.encode() + b"\n",
        base64.urlsafe_b64encode(JPG).rstrip(b"="),
        base64.encodebytes(PNG),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_base64_in_a_column_of_bytes_is_decoded(given: bytes, nested: bool) -> None:
    values = [given, JPG, b"no image", None, b"", b"A" * 200]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": one} for one in values], kind) if nested else pa.array(values)
    (decoded, *others) = bytes_of_images(column).to_pylist()
    assert sniff(decoded) in ("jpg", "png")
    # What is no image as text stays what it is: its failure says so.
    assert others == values[1:]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string(), pa.binary_view()])
def test_every_type_of_column_gives_the_same_bytes(kind: pa.DataType) -> None:
    found = bytes_of_images(pa.array([B64.encode(), None], pa.binary()).cast(kind))
    assert found.to_pylist() == [JPG, None]


def test_a_struct_of_base64_text_is_an_image_under_the_name_of_one() -> None:
    opened = table(image=[{"bytes": B64, "path": "a.jpg"}], other=[{"bytes": "text", "path": "x"}])
    assert roles_of_table(opened).image == "image"
    ((_, found),) = measure_rows(opened, 0, column="image", wanted=[0])
    assert found == MeasuredImage(len(JPG), "jpg")


@pytest.mark.parametrize(
    ("row", "ident"),
    [
        ({"image": {"bytes": B64, "path": "x/a.png"}}, "x/a"),
        ({"image": {"bytes": B64}}, "t-0"),
        ({"image": {"bytes": B64, "path": None}, "id": 7}, "7"),
        ({"img": {"bytes": list(JPG)}, "caption": "c"}, "t-0"),
        ({"whatever": {"path": "b.jpg", "bytes": URI}}, "b"),
        ({"data_uri": URI, "file_name": "c.jpg"}, "c"),
        ({"dataURL": B64}, "t-0"),
        ({"payload": URI, "caption": "c"}, "t-0"),
        ({"payload": B64}, "t-0"),
    ],
)
def test_images_in_json_are_found_as_bytes_under_any_name(row: dict[str, Any], ident: str) -> None:
    (found,), kept = refs_of(json.dumps(row), "t.jsonl")
    assert isinstance(found, SampleRef)
    assert (found.id, found.size) == (ident, len(kept[0]))
    assert sniff(kept[0]) in ("jpg", "png")
    assert not {"image", "img", "whatever", "payload"} & found.metadata.keys()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"bytes": "\xff\xd8\xff", "path": "a.jpg"}, "its 'image' holds no image in base64"),
        ({"bytes": [300, -1]}, "its 'image' has bytes that are no whole numbers from 0 to 255"),
        ({"bytes": ["a"]}, "its 'image' has bytes that are no whole numbers from 0 to 255"),
        ({"bytes": []}, "its 'image' has no image"),
        ({"bytes": {"0": 1}}, "its 'image' holds no image in base64"),
        ({"bytes": None, "path": None}, "its row has no 'image'"),
    ],
)
def test_bytes_in_json_that_are_none_fail_with_a_reason(value: object, said: str) -> None:
    (found,), _ = refs_of(json.dumps({"image": value}), "t.jsonl")
    assert isinstance(found, Failure)
    assert found.message == said


def test_bytes_that_are_null_leave_the_path() -> None:
    (found,), _ = refs_of(json.dumps({"image": {"bytes": None, "path": "a.jpg"}}), "t.jsonl")
    assert isinstance(found, SampleRef)
    assert found.image.uri == "/d/a.jpg"


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_csv_with_images_under_any_name_is_no_wrong_table(name: str) -> None:
    tab = "\t" if name.endswith("tsv") else ","
    data = f'payload{tab}n\n"{URI}"{tab}1\n'
    (header, block) = text_blocks(io.BytesIO(data.encode()), name)
    source = Source("table", name, f"/d/{name}", 1)
    check_paths(block, source)
    with pytest.raises(InputError, match="its columns are 'payload', 'n'"):
        check_paths(header, source)
