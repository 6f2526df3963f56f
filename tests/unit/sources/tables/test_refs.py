from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pytest
from support.cells import FILES, TEXTS
from support.tables import HF, parquet

from beam_export.errors import SampleError
from beam_export.samples import UNMEASURED, WHOLE, Failure, Member, SampleRef
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.refs import (
    MeasuredImage,
    TablePlace,
    group_refs,
    measure_rows,
    resolve,
    row_ref,
    with_measured_size,
)
from beam_export.sources.tables.roles import Roles, roles_of_schema

PLACE = TablePlace("sub/t.parquet", "/data/sub/t.parquet", b"\1")


# Roles.


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("number", pa.int64()),
        ("when", pa.timestamp("ns")),
    ],
)
def test_dictionaries_are_read_as_their_values(column: str, kind: pa.DataType) -> None:
    given = {"id": pa.array(["a", "b", None]), "path": pa.array(["x.jpg", "y.jpg", "z.jpg"])}
    plain = given.get(column, pa.array([1, 2, None])).cast(kind)
    data = parquet(pa.table({**given, column: plain.dictionary_encode()}))
    table = ParquetTable(io.BytesIO(data))
    assert table.schema.field(column).type == kind
    roles = roles_of_schema(table.schema)
    assert roles == Roles("id", "", "path")
    expected = parquet(pa.table({**given, column: plain}))
    (found,), (same,) = (
        list(group_refs(one, 0, roles, PLACE))
        for one in (table, ParquetTable(io.BytesIO(expected)))
    )
    assert found == same
    assert [one.id for one in found if isinstance(one, SampleRef)] == ["a", "b", "z"]


def test_dictionaries_inside_lists_and_structs_are_read_as_their_values() -> None:
    letters = pa.array(["x", None, "x"]).dictionary_encode()
    nested = pa.ListArray.from_arrays([0, 2, 2, 3], letters)
    inside = pa.StructArray.from_arrays([letters], ["s"])
    table = ParquetTable(io.BytesIO(parquet(pa.table({"l": nested, "d": inside}))))
    assert table.schema == pa.schema(
        [("l", pa.list_(pa.string())), ("d", pa.struct([("s", pa.string())]))]
    )
    ((_, rows),) = table.rows(0)
    assert [row["l"] for row in rows] == [["x", None], [], ["x"]]
    assert [row["d"] for row in rows] == [{"s": "x"}, {"s": None}, {"s": "x"}]


# Refs.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.jpg", "/data/sub/a.jpg"),
        ("./x/a.jpg", "/data/sub/x/a.jpg"),
        ("../a.jpg", "/data/sub/../a.jpg"),
        ("/a.jpg", "/a.jpg"),
        ("gs://b/a.jpg", "gs://b/a.jpg"),
        ("file:///x/a.jpg", "/x/a.jpg"),
        ("https://h/a.jpg", "https://h/a.jpg"),
    ],
)
def test_paths_are_relative_to_the_table(path: str, expected: str) -> None:
    assert resolve(path, PLACE.uri) == expected
    if not path.startswith((".", "/", "file", "gs", "https")):
        assert resolve(path, "gs://b/in/t.csv") == f"gs://b/in/{path}"


@pytest.mark.parametrize(
    ("row", "ident"),
    [
        ({"id": "x", "path": "a.jpg"}, "x"),
        ({"id": 7, "path": "a.jpg"}, "7"),
        ({"id": 0, "path": "a.jpg"}, "0"),
        ({"id": None, "path": "c/a.v2.JPG"}, "c/a.v2"),
        ({"id": "", "path": "c/a.b"}, "c/a.b"),
        ({"id": True, "path": {"path": "a.png"}}, "a"),
        ({"path": "./0.jpg"}, "0"),
        ({"path": "a//./0.jpg"}, "a/0"),
        ({"path": "../f/0.jpg"}, "f/0"),
        ({"path": "../../f/0.jpg"}, "f/0"),
        ({"path": "a/../b/0.jpg"}, "b/0"),
        ({"path": ".././0.jpg"}, "0"),
        ({"path": "a..b/c../0.jpg"}, "a..b/c../0"),
        ({"path": "/in/../0.jpg"}, "/in/../0"),
        ({"path": "gs://b/../0.jpg"}, "gs://b/../0"),
        ({"id": "../f/0", "path": "0.jpg"}, "../f/0"),
        ({"path": "caf\udce9/0.jpg"}, "caf\ufffd/0"),
    ],
)
def test_ids(row: dict[str, Any], ident: str) -> None:
    ref = row_ref(row, 3, Roles("id", "", "path"), PLACE)
    assert isinstance(ref, SampleRef)
    assert (ref.id, ref.order, ref.size) == (ident, b"\1" + bytes(7) + b"\3", UNMEASURED)
    assert ref.image.offset == WHOLE


@pytest.mark.parametrize("path", [None, "", 5, {}])
def test_a_row_without_a_path_is_a_failure(path: Any) -> None:
    failure = row_ref({"path": path}, 3, Roles("", "", "path"), PLACE)
    assert isinstance(failure, Failure)
    assert (failure.image_id, failure.stage) == ("sub/t-3", "list")


def test_refs_of_a_row_group_read_no_bytes_until_somebody_asks() -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(40)
    rows = [{"image": {"bytes": png, "path": None}, "n": 1}] * 3
    data = parquet(pa.Table.from_pylist(rows, pa.schema([("image", HF), ("n", pa.int8())])))
    table = ParquetTable(io.BytesIO(data))
    (refs,) = group_refs(table, 0, roles_of_schema(table.schema), PLACE)
    ref = refs[2]
    assert isinstance(ref, SampleRef)
    assert ref.image == Member("", PLACE.uri, 2, UNMEASURED, column="image")
    assert (ref.size, ref.metadata, ref.typed) == (UNMEASURED, {"n": 1}, ("n",))
    assert (ref.id, ref.path) == ("sub/t-2", "/data/sub/t.parquet#2")
    ((row, found),) = measure_rows(table, 0, "image", [2])
    assert row == 2
    ref = with_measured_size(ref, found)
    assert ref.image == Member("png", PLACE.uri, 2, len(png), column="image")
    assert ref.size == len(png)


@pytest.mark.parametrize("kind", ["plain", "large", "struct"])
@pytest.mark.parametrize("wanted", [[], [128], [255, 130, 131], list(range(128, 256))])
def test_a_look_at_rows_finds_those_and_no_others(kind: str, wanted: list[int]) -> None:
    table = ParquetTable(io.BytesIO(FILES[f"{kind}0"]))
    found = list(measure_rows(table, 1, "a.b", wanted))
    assert [row for row, _ in found] == sorted(wanted)
    for row, one in found:
        text = TEXTS[row]
        assert one.size == (None if text is None else len(text))


def test_a_look_reads_no_further_than_it_has_to() -> None:
    data = parquet(
        pa.table({"jpg": [bytes([n % 251]) * 50_000 for n in range(600)]}),
        compression="none",
        data_page_size=50_000,
        write_batch_size=1,
        use_dictionary=False,
    )
    file = Counted(data)
    table = ParquetTable(file)
    file.count = 0
    assert [row for row, _ in measure_rows(table, 0, "jpg", [3])] == [3]
    assert file.count < len(data) // 2


class Counted(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_paths_of_structs_are_read_without_the_bytes_beside_them() -> None:
    rows = [{"image": {"bytes": bytes(100_000), "path": f"p/{n}.jpg"}, "n": n} for n in range(40)]
    table = pa.Table.from_pylist(rows, pa.schema([("image", HF), ("n", pa.int8())]))
    data = parquet(table, compression="none", use_dictionary=False)
    file = Counted(data)
    opened = ParquetTable(file)
    (refs,) = group_refs(opened, 0, roles_of_schema(opened.schema), PLACE)
    assert [(one.id, one.path) for one in refs if isinstance(one, SampleRef)] == [
        (f"p/{n}", f"p/{n}.jpg") for n in range(40)
    ]
    assert file.count < len(data) // 10


def test_a_column_that_is_called_like_a_field_is_told_apart() -> None:
    rows = [{"image": {"bytes": b"x", "path": "a.jpg"}, "image.path": 7}]
    table = pa.Table.from_pylist(rows, pa.schema([("image", HF), ("image.path", pa.int8())]))
    opened = ParquetTable(io.BytesIO(parquet(table)))
    ((ref,),) = group_refs(opened, 0, roles_of_schema(opened.schema), PLACE)
    assert isinstance(ref, SampleRef)
    assert (ref.path, ref.metadata) == ("a.jpg", {"image.path": 7})


@pytest.mark.parametrize(
    ("path", "uri"), [("a.png", "/data/sub/a.png"), ("gs://b/a.png", "gs://b/a.png")]
)
def test_a_row_without_bytes_is_at_its_path(path: str, uri: str) -> None:
    member = Member("", PLACE.uri, 3, UNMEASURED, column="image")
    ref = SampleRef(b"", "x", path, member, (), {}, UNMEASURED)
    found = with_measured_size(ref, MeasuredImage(None, ""))
    assert (found.path, found.size) == (uri, UNMEASURED)
    assert found.image == Member("png", uri, WHOLE, UNMEASURED)
    with pytest.raises(SampleError):
        with_measured_size(ref._replace(path=f"{PLACE.uri}#3"), MeasuredImage(None, ""))
