"""Tables of image folders: where they are, and what their rows say."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_export.errors import InputError
from beam_export.metadata.columns import ColumnChoice
from beam_export.sources.entries import (
    Source,
    SourceKind,
)
from beam_export.sources.tables.folder_tables import (
    FolderRow,
    UnfitTableError,
    choose_columns_of_folder_rows,
    columns_of,
    read_folder_rows,
    unpack_folder_rows,
)


def table(path: str) -> Source:
    kind: SourceKind = "parquet" if path.endswith(".parquet") else "table"
    return Source(kind, path, f"/in/{path}", 1)


def rows(folder: Path, name: str, data: bytes | str, **given: Any) -> list[FolderRow]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    one = table(name)._replace(uri=str(path))
    encoding, choice = given.get("encoding", "utf-8"), given.get("choice", ColumnChoice())
    _, types = columns_of(one, encoding)
    found: list[FolderRow] = []
    for packed in read_folder_rows(one, types, encoding):
        chosen, names = choose_columns_of_folder_rows(packed, choice)
        assert names == {name for row in unpack_folder_rows(packed) for name in values_of(row)}
        found.extend(unpack_folder_rows(chosen))
    return found


def values_of(row: FolderRow) -> dict[str, Any]:
    values: dict[str, Any] = pickle.loads(row.values)
    return values


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


TEXT = "file_name,text,n\n0.jpg,a,1\nd/1.jpg,b,\n"


@pytest.mark.parametrize(
    ("name", "data", "typed"),
    [
        ("metadata.csv", TEXT, ()),
        ("metadata.csv", TEXT.encode("utf-8-sig"), ()),
        ("metadata.csv", TEXT.replace(",", ";"), ()),
        (
            "metadata.jsonl",
            '{"file_name": "0.jpg", "text": "a", "n": 1}\n'
            '{"file_name": "d/1.jpg", "text": "b", "n": null}',
            (),
        ),
        (
            "metadata.parquet",
            parquet(file_name=["0.jpg", "d/1.jpg"], text=["a", "b"], n=[1, None]),
            ("text", "n"),
        ),
    ],
)
def test_rows_name_images_relative_to_the_table(
    tmp_path: Path, name: str, data: bytes | str, typed: tuple[str, ...]
) -> None:
    found = rows(tmp_path, f"part/{name}", data)
    assert [row.path for row in found] == [
        os.path.join(tmp_path, "part", one) for one in ("0.jpg", "d/1.jpg")
    ]
    assert [row.shown for row in found] == ["part/0.jpg", "part/d/1.jpg"]
    assert [pickle.loads(row.values) for row in found] == [
        {"text": "a", "n": 1},
        {"text": "b", "n": None},
    ]
    assert found[0].typed == typed


def test_columns_are_chosen_and_rows_without_a_name_match_nothing(tmp_path: Path) -> None:
    lines = [{"file_name": "./0.jpg", "a": 1, "b": 2}, {"a": 1}, {"file_name": 7}, [1]]
    data = "\n".join(map(json.dumps, lines))
    choice = ColumnChoice(drop=("a",), text=("b",))
    found = rows(tmp_path, "metadata.jsonl", data, choice=choice)
    assert [(row.path, row.shown) for row in found] == [
        (f"{tmp_path}/0.jpg", "./0.jpg"),
        *(("", f"row {number} of metadata.jsonl") for number in (2, 3, 4)),
    ]
    assert pickle.loads(found[0].values) == {"b": "2"}


@pytest.mark.parametrize(
    ("name", "data", "unreadable", "reason"),
    [
        ("metadata.csv", "path,text\n0.jpg,a\n", False, "has no text in a column 'file_name'"),
        ("metadata.csv", "", False, "has no text in a column 'file_name'"),
        (
            "metadata.jsonl",
            '{"filename": "0.jpg"}\n[1]\n',
            False,
            "has no text in a column 'file_na",
        ),
        ("metadata.jsonl", '{"file_name": 1}\n{"file_name": ""}', False, "has no text in a column"),
        ("metadata.jsonl", "", False, "has no text in a column 'file_name'"),
        ("metadata.parquet", parquet(text=["a"]), False, "has no text in a column 'file_name'"),
        ("metadata.parquet", parquet(file_name=[1]), False, "has no text in a column 'file_name'"),
        ("metadata.parquet", b"PAR1", True, "is not a Parquet file that can be read"),
        ("metadata.parquet", parquet(file_name=["0.jpg"])[:-9], True, "is not a Parquet file"),
        ("metadata.csv", 'file_name,a\n"0.jpg\n', True, "is not valid CSV"),
        ("metadata.csv", "file_name,a,a\n0.jpg,1,2\n", True, "two columns that are called 'a'"),
        ("metadata.csv", b"path,a\n0.jpg,\xe9\n", True, "in line 2 (byte 0xe9)"),
        ("metadata.jsonl", b'{"name": "a"}\n{"file_name": "\xff"}', True, "in line 2 (byte 0xff)"),
        ("metadata.csv", "path,é\n0.jpg,é\n".encode("utf-16-le"), True, "=utf-16-le"),
    ],
)
def test_a_table_that_names_no_images_or_cannot_be_read_is_unfit(
    tmp_path: Path, name: str, data: bytes | str, unreadable: bool, reason: str
) -> None:
    with pytest.raises(UnfitTableError) as caught:
        rows(tmp_path, f"in/{name}", data)
    assert caught.value.unreadable == unreadable
    # Where it lies is said by its path within the input.
    assert str(caught.value).startswith(f"the table in/{name} ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("metadata.csv", "path,text,n\n0.jpg,a,1\n"),
        (
            "metadata.jsonl",
            '{"path": "0.jpg"}\n{"text": "a", "n": 1, "x": true, "file_name": null}',
        ),
        ("metadata.parquet", parquet(path=["0.jpg"], text=["a"], n=[1], x=[True])),
    ],
)
def test_one_that_names_no_images_says_which_columns_may(
    tmp_path: Path, name: str, data: bytes | str
) -> None:
    with pytest.raises(UnfitTableError) as caught:
        rows(tmp_path, name, data)
    assert sorted(caught.value.names) == ["n", "path", "text"]


def test_json_lines_name_images_however_late_the_first_does(tmp_path: Path) -> None:
    data = '{"a": 1}\n' * 1001 + '{"file_name": "0.jpg"}'
    assert [row.path for row in rows(tmp_path, "metadata.jsonl", data) if row.path] == [
        f"{tmp_path}/0.jpg"
    ]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "metadata.csv",
            "file_name,a\n0.jpg,x\n1.jpg,\xe9\n".encode("cp1252"),
            "in line 3 (byte 0xe9)",
        ),
        ("metadata.csv", b"\n\nfile_name;\xe9\n0.jpg,x\n", "in line 3 (byte 0xe9)"),
        ("metadata.csv", b"\xef\xbb\xbfid,file_name\n1,\xff\n", "in line 2 (byte 0xff)"),
        ("metadata.jsonl", b'{"file_name": "\xff"}', "in line 1 (byte 0xff)"),
        (
            "metadata.jsonl",
            b'\n{"a": 1, "file_name": "0.jpg"}\n{"a": "\x80"}',
            "in line 3 (byte 0x80)",
        ),
        (
            "metadata.csv",
            "file_name,a\n0.jpg,é\n".encode("utf-16-le"),
            "--table_encoding=utf-16-le",
        ),
        (
            "metadata.csv",
            "a,file_name\n0,é.jpg\n".encode("utf-32-be"),
            "--table_encoding=utf-32-be",
        ),
    ],
)
def test_one_that_names_images_and_cannot_be_decoded_is_refused(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        rows(tmp_path, f"in/{name}", data)
    sentence = caught.value.sentence
    assert sentence.startswith(f"the table in/{name} ")
    assert said in sentence
    assert sentence.endswith(", or leave the table out by --metadata=none.")


def test_a_table_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    gone = table("metadata.csv")._replace(uri=str(tmp_path / "metadata.csv"))
    with pytest.raises(
        UnfitTableError, match=r"the table metadata\.csv cannot be opened: No such"
    ) as caught:
        columns_of(gone, "utf-8")
    assert caught.value.unreadable


def row(path: str, place: tuple[int, int] = (0, 0), **values: Any) -> FolderRow:
    return FolderRow(path, place, path, pickle.dumps(values), tuple(values))
