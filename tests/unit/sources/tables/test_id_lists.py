from __future__ import annotations

import codecs
import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from beam_export.errors import InputError
from beam_export.sources.tables.encoding import UTF8
from beam_export.sources.tables.id_lists import read_ids
from beam_export.sources.tables.lookup import unpack_rows


def ids(path: Path, content: bytes, encoding: str = UTF8) -> list[str]:
    path.write_bytes(content)
    packed = read_ids(str(path), "--ids", encoding)
    return [row.key for piece in packed for row in unpack_rows(piece)]


def parquet(**columns: list[Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=2)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("i.txt", b"\xef\xbb\xbfa\r\n b \n\n\nc/d.jpg", ["a", "b", "c/d.jpg"]),
        ("i.txt", "räk\n".encode() + b"\xff", ["räk", "\ufffd"]),
        ("i.txt", codecs.BOM_UTF16_LE + "räk\r\nb".encode("utf-16-le"), ["räk", "b"]),
        ("i.txt", codecs.BOM_UTF16_BE + "räk\nb\n".encode("utf-16-be"), ["räk", "b"]),
        ("i.txt.gz", gzip.compress("räk\nb".encode("utf-16"), mtime=0), ["räk", "b"]),
        ("i.txt.gz", gzip.compress(b"a\nb\n", mtime=0), ["a", "b"]),
        ("i.txt.zst", zstandard.compress(b"a\nb\n"), ["a", "b"]),
        ("i.txt", b"", []),
        ("i.parquet", parquet(n=[1, 2, 3, 4], image_id=["a", None, "c", ""]), ["a", "c"]),
        ("i.parquet", parquet(x=["no", "no", "no"], key=[7, 8, 9]), ["7", "8", "9"]),
        ("i.PARQUET", parquet(n=[1], x=["a"], y=["b"]), ["a"]),
    ],
)
def test_ids_of_a_file(tmp_path: Path, name: str, content: bytes, found: list[str]) -> None:
    assert ids(tmp_path / name, content) == found


def test_many_ids_come_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "i.txt").write_text("\n".join(map(str, range(25_000))), encoding="utf-8")
    pieces = [unpack_rows(piece) for piece in read_ids(str(tmp_path / "i.txt"), "--ids")]
    assert [len(piece) for piece in pieces] == [10_000, 10_000, 5_000]
    assert [row.key for piece in pieces for row in piece] == [*map(str, range(25_000))]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("i.parquet", parquet(n=[1]), "has no column of ids, but n: call one image_id"),
        ("i.parquet", b"no parquet", "is not a Parquet file that can be read"),
        ("", b"", "is a directory: give a file of ids, one per line"),
        ("nowhere.txt", None, "cannot be opened: give a file that is there"),
    ],
)
def test_what_is_no_list_of_ids(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if name and content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="--ids=") as caught:
        list(read_ids(str(tmp_path / name).rstrip("/"), "--ids"))
    assert said in caught.value.sentence


@pytest.mark.parametrize(
    ("content", "encoding", "said"),
    [
        (b"\xef\xbb\xbfa\n\xff\n", UTF8, "utf-8, as its byte-order mark says, in line 2 .*: mend"),
        (codecs.BOM_UTF16_LE + b"a\0\n\0\0\xdcb\0", UTF8, "utf-16-le, as its .* in line 2 "),
        (gzip.compress(b"a\nb\n\x81\n", mtime=0), "cp1252", r"cp1252 in line 3 \(byte 0x81\): say"),
        (b"cat\ncaf\xe9\n", "utf-16-le", "utf-16-le in line 1 .*--table_encoding"),
    ],
)
def test_ids_in_another_encoding_than_is_said_are_refused_with_their_line(
    tmp_path: Path, content: bytes, encoding: str, said: str
) -> None:
    with pytest.raises(InputError, match=rf"--ids=.*i\.txt cannot be read as {said}"):
        ids(tmp_path / "i.txt", content, encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["1\n", "cat\r\nräk\r\n", "кот\nпёс\n" * 30])
def test_ids_of_several_bytes_per_letter_without_a_mark_name_the_flag_that_reads_them(
    tmp_path: Path, text: str, encoding: str
) -> None:
    data = text.encode(encoding)
    for content in (data, gzip.compress(data, mtime=0)):
        for asked in (UTF8, "cp1252"):
            with pytest.raises(InputError, match=rf"--ids=.* give --table_encoding={encoding}\."):
                ids(tmp_path / "i.txt", content, asked)
        assert ids(tmp_path / "i.txt", content, encoding) == text.split()
