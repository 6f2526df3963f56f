"""Tables beside image files that are passed by: which of them would be joined, and how."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_export.sources.entries import Source, SourceKind
from beam_export.sources.tables.beside import naming_images, way_of_metadata

#: What is said of a table that holds images.
HOLDS = "holds images itself, in its column {!r}: give it as an --input of its own to export them"
BASE64 = base64.b64encode(b"\xff\xd8\xff\xe0" + b"JFIF" * 40).decode()


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
        ("train.parquet", parquet(image=[b"\xff\xd8"], image_id=["0"]), HOLDS.format("image")),
        ("a/hf.parquet", parquet(x=[{"bytes": b"\xff\xd8", "path": "0"}]), HOLDS.format("x")),
        ("text.parquet", parquet(id=["0"], image=[BASE64]), HOLDS.format("image")),
        ("text.csv", f"image_id,image\n0,{BASE64}\n".encode(), HOLDS.format("image")),
        ("b64.csv", f"id,image_b64\n0,{BASE64}\n".encode(), HOLDS.format("image_b64")),
        ("text.jsonl", json.dumps({"id": "0", "img": BASE64}).encode(), HOLDS.format("img")),
        (
            "vectors.parquet",
            parquet(vector=[b"123"], key=["0"]),
            "vectors.parquet has a column 'key': --metadata=.../vectors.parquet "
            "--metadata_key=key would join it",
        ),
        # What is no text and no whole number joins nothing.
        ("odd.parquet", parquet(image_id=[0.5], path=[[1]]), None),
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
    line = line if line is None or line.startswith(name) else f"{name} {line}"
    assert said(tmp_path, {name: data}) == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("relative", "names", "way"),
    [
        (
            "metadata.csv",
            ["filename", "text"],
            "has a column 'filename': --metadata=.../metadata.csv --metadata_key=filename would",
        ),
        ("a/metadata.csv", ["filename"], "has a column 'filename': called 'file_name' it would be"),
        ("a/metadata.csv", ["id"], "has a column 'id': --metadata=.../a/metadata.csv --metadata_k"),
        ("metadata.csv", ["text"], ""),
        # Of whole numbers.
        ("a/metadata.parquet", ["file_name"], ""),
    ],
)
def test_a_metadata_table_by_another_column_says_how_it_is_joined(
    relative: str, names: list[str], way: str
) -> None:
    found = way_of_metadata(relative, names)
    assert found.startswith(way)
    assert bool(found) == bool(way)


def test_tables_in_other_encodings_are_read_as_they_are_said_to_be(tmp_path: Path) -> None:
    files = {"latin.csv": b"file_name,caf\xe9\n"}
    assert said(tmp_path, files) == []
    assert len(said(tmp_path, files, "cp1252")) == 1


def test_of_many_tables_the_first_are_looked_at(tmp_path: Path) -> None:
    files = {f"{number:03d}.csv": b"file_name\n" for number in range(50)}
    assert [line[:7] for line in said(tmp_path, files)] == [f"{n:03d}.csv" for n in range(20)]


def test_a_table_that_is_gone_by_then_is_no_error() -> None:
    assert list(naming_images([Source("table", "x.csv", "/nowhere/x.csv", 1)], "utf-8")) == []
