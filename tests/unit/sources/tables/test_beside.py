"""Tables beside image files that are passed by: which of them would be joined, and how."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_export.sources.entries import Source, SourceKind
from beam_export.sources.tables.beside import naming_images


def parquet(**columns: list[object]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def said(folder: Path, files: dict[str, bytes], encoding: str = "utf-8") -> list[str]:
    tables = []
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        kind: SourceKind = "parquet" if name.endswith(".parquet") else "table"
        tables.append(Source(kind, name, str(path), len(data)))
    return list(naming_images(tables, encoding))


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        (
            "captions.csv",
            b"file_name,text\n0.jpg,a\n",
            "captions.csv has a column 'file_name': --metadata=.../captions.csv "
            "--metadata_key=file_name would join it",
        ),
        (
            "results.tsv",
            b"image\tcomment\n0.jpg\ta\n",
            "results.tsv has a column 'image': --metadata=.../results.tsv --metadata_key=image "
            "would join it",
        ),
        (
            "scores.jsonl",
            b'{"image_id": "0", "score": 1}\n',
            "scores.jsonl has a column 'image_id': --metadata=.../scores.jsonl would join it",
        ),
        (
            "a/scores.parquet",
            parquet(key=["0"], score=[1]),
            "a/scores.parquet has a column 'key': --metadata=.../a/scores.parquet "
            "--metadata_key=key would join it",
        ),
        (
            "a/captions.csv",
            b"file_name,text\n0.jpg,a\n",
            "a/captions.csv has a column 'file_name': called metadata.csv it would be joined by "
            "itself",
        ),
        ("a/captions.csv", b"image,text\n0.jpg,a\n", None),
        ("notes.csv", b"day,text\n1,a\n", None),
        ("empty.csv", b"", None),
        ("empty.jsonl", b"", None),
        ("broken.jsonl", b"[1]\n", None),
        ("latin.csv", b"file_name,caf\xe9\n", None),
        ("broken.parquet", b"PAR1", None),
    ],
)
def test_a_table_that_may_name_the_images_says_how_it_is_joined(
    tmp_path: Path, name: str, data: bytes, line: str | None
) -> None:
    assert said(tmp_path, {name: data}) == ([] if line is None else [line])


def test_tables_in_other_encodings_are_read_as_they_are_said_to_be(tmp_path: Path) -> None:
    files = {"latin.csv": b"file_name,caf\xe9\n"}
    assert said(tmp_path, files) == []
    assert len(said(tmp_path, files, "cp1252")) == 1


def test_of_many_tables_the_first_are_looked_at(tmp_path: Path) -> None:
    files = {f"{number:03d}.csv": b"file_name\n" for number in range(50)}
    assert [line[:7] for line in said(tmp_path, files)] == [f"{n:03d}.csv" for n in range(20)]


def test_a_table_that_is_gone_by_then_is_no_error() -> None:
    assert list(naming_images([Source("table", "x.csv", "/nowhere/x.csv", 1)], "utf-8")) == []
