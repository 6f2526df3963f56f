from __future__ import annotations

import io
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_export.errors import SampleError
from beam_export.samples import UNMEASURED, WHOLE, Failure, Member, SampleRef
from beam_export.sources.tables import cells
from beam_export.sources.tables.cells import Cells
from beam_export.sources.tables.refs import (
    MeasuredImage,
    Place,
    group_refs,
    measure_rows,
    resolve,
    row_ref,
    with_measured_size,
)
from beam_export.sources.tables.roles import Roles, roles_of_names, roles_of_schema
from beam_export.sources.tables.rows import ParquetTable, TableError

PLACE = Place("sub/t.parquet", "/data/sub/t.parquet", b"\1")
HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


# Roles.


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        ({"image": HF, "label": pa.int64()}, Roles("", "image")),
        ({"picture_of": HF, "data": pa.binary()}, Roles("", "data")),
        ({"picture_of": HF, "thumb": pa.binary()}, Roles("", "picture_of")),
        ({"raw": pa.large_binary(), "ID": pa.int64()}, Roles("ID", "raw")),
        ({"raw": pa.binary(), "path": pa.string()}, Roles("", "", "path")),
        ({"jpg": pa.binary(), "path": pa.string(), "url": pa.string()}, Roles("", "jpg", "path")),
        ({"jpg": pa.binary(), "url": pa.string(), "__key__": pa.string()}, Roles("__key__", "jpg")),
        ({"image": pa.string(), "key": pa.string(), "id": pa.string()}, Roles("id", "", "image")),
        ({"url": pa.string(), "File_Name": pa.string()}, Roles("", "", "File_Name")),
        ({"id": pa.float64(), "path": pa.string()}, Roles("", "", "path")),
        (
            {"jpg": pa.binary(), "id": pa.int64(), "key": pa.string()}
            | dict.fromkeys(["status", "error_message", "url"], pa.string()),
            Roles("key", "jpg", "", "status"),
        ),
    ],
)
def test_roles_are_told_by_names_and_types(columns: dict[str, Any], roles: Roles) -> None:
    assert roles_of_schema(pa.schema(list(columns.items()))) == roles
    assert roles_of_schema(pa.schema(list(columns.items())[::-1])) == roles


def test_what_has_no_image_says_which_columns_there_are() -> None:
    two = {"one": pa.binary(), "two": pa.binary()}
    with pytest.raises(TableError, match="'one', 'two'"):
        roles_of_schema(pa.schema(list(two.items())))
    with pytest.raises(TableError, match="its columns are none"):
        roles_of_schema(pa.schema([]))
    with pytest.raises(TableError, match="'score'"):
        roles_of_names(("score",))


@pytest.mark.parametrize(
    "names", [("tar_file", "member_name", "original_path"), ("key", "status", "url", "caption")]
)
def test_tables_beside_tars_are_not_taken_for_tables_of_paths(names: tuple[str, ...]) -> None:
    with pytest.raises(TableError, match="give those tars"):
        roles_of_names(names)
    with pytest.raises(TableError, match="give those tars"):
        roles_of_schema(pa.schema([(name, pa.string()) for name in names]))


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


# Cells.

TEXTS = [None if n % 7 == 3 else b"%04d" % n * (n % 50) for n in range(300)]
KINDS = {"plain": pa.binary(), "large": pa.large_binary(), "struct": HF}


def table_of(kind: str) -> bytes:
    column: list[Any] = list(TEXTS)
    if kind == "struct":
        column = [None if one is None else {"bytes": one, "path": "x"} for one in TEXTS]
    table = pa.table({"a.b": pa.array(column, KINDS[kind]), "n": range(300)})
    return parquet(table, row_group_size=128, use_dictionary=False)


FILES = {f"{kind}{number}": table_of(kind) for kind in KINDS for number in range(2)}


class Opened:
    """Counts the files that are open."""

    def __init__(self) -> None:
        self.files: list[BinaryIO] = []

    def __call__(self, uri: str) -> BinaryIO:
        if uri not in FILES:
            raise FileNotFoundError(uri)
        self.files.append(io.BytesIO(FILES[uri]))
        return self.files[-1]


@pytest.mark.parametrize("kept", [0, 4000, 1 << 30])
@settings(deadline=None, max_examples=25)
@given(places=st.lists(st.tuples(st.sampled_from(sorted(FILES)), st.integers(0, 299)), max_size=30))
def test_cells_in_any_order(kept: int, places: list[tuple[str, int]]) -> None:
    opened = Opened()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "_KEPT_BYTES", kept)
        patch.setattr("beam_export.sources.tables.parquet._BATCH_BYTES", 500)
        reader = Cells(opened)
        for uri, row in places:
            assert reader.read(uri, "a.b", row) == TEXTS[row]
            assert sum(not file.closed for file in opened.files) <= 4
            assert sum(size for size, _ in reader._kept.values()) <= kept
        reader.close()
    assert all(file.closed for file in opened.files)


def test_rows_in_order_read_each_row_group_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.sources.tables.parquet._BATCH_BYTES", 500)
    for kept in (0, 1 << 30):
        monkeypatch.setattr(cells, "_KEPT_BYTES", kept)
        reader, started = Cells(Opened()), []
        batches = ParquetTable.batches

        def counted(
            table: ParquetTable, group: int, *rest: Any, started: Any = started, to: Any = batches
        ) -> Any:
            started.append(group)
            return to(table, group, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ParquetTable, "batches", counted)
            for row in range(0, 300, 3):
                reader.read("plain0", "a.b", row)
        assert started == [0, 1, 2]


def test_what_is_not_there() -> None:
    reader = Cells(Opened())
    for column, row in (("a.b", 300), ("a.b", -1), ("x", 0)):
        with pytest.raises(TableError, match="has no row"):
            reader.read("plain0", column, row)
    with pytest.raises(FileNotFoundError):
        reader.read("gone", "a.b", 0)
    reader.read("plain0", "a.b", 0)
    reader.forget("plain0")
    assert reader.read("plain0", "a.b", 1) == TEXTS[1]


def test_a_row_group_that_ends_too_early_says_so() -> None:
    table = ParquetTable(io.BytesIO(FILES["plain0"]))
    table.groups[1] = table.groups[1]._replace(rows=129)
    with pytest.raises(TableError, match="row group 1: it ends before its last row"):
        list(table.batches(1))
