from __future__ import annotations

import codecs
import contextlib
import encodings
import gzip
import io
import pkgutil
from typing import Any

import pytest

from beam_export.errors import InputError
from beam_export.sources.tables.rows import read_rows, read_types
from beam_export.sources.tables.text import read_header
from beam_export.text import encoding_name

TEXT = "id,caption\n0,café “x”\n1,naïve\n"


def values(data: bytes, name: str, encoding: str = "utf-8") -> list[dict[str, Any]]:
    types = read_types(io.BytesIO(data), name, encoding)
    rows = read_rows(io.BytesIO(data), name, types, encoding=encoding)
    return [row[1] for batch in rows for row in batch]


@pytest.mark.parametrize(
    "encoding",
    ["cp1252", "utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "gb18030", "utf-7"],
)
def test_text_is_decoded_as_the_option_says(encoding: str) -> None:
    expected = [{"id": 0, "caption": "café “x”"}, {"id": 1, "caption": "naïve"}]
    data = TEXT.encode(encoding)
    assert values(data, "t.csv", encoding) == expected
    assert values(gzip.compress(data, mtime=0), "t.csv.gz", encoding) == expected
    lines = '{"caption": "café “x”"}\n{"caption": "naïve"}\n'.encode(encoding)
    assert values(lines, "t.jsonl", encoding) == [{"caption": "café “x”"}, {"caption": "naïve"}]
    assert read_header(io.BytesIO(data), "t.csv", encoding) == ["id", "caption"]


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_whatever_the_option_says(mark: bytes, encoding: str) -> None:
    for asked in ("utf-8", "cp1252", "utf-16-le"):
        data = mark + TEXT.replace(",", "\t").encode(encoding)
        assert values(data, "t.tsv", asked)[0] == {"id": 0, "caption": "café “x”"}
        lines = mark + '{"caption": "é"}\n'.encode(encoding)
        assert values(lines, "t.jsonl", asked) == [{"caption": "é"}]


@pytest.mark.parametrize(
    ("data", "name", "encoding", "told"),
    [
        (TEXT.encode("cp1252"), "t.csv", "utf-8", r"t\.csv cannot be read as utf-8 in line 2 "),
        (b"a\nx\ny\n\xe9\n", "t.csv", "utf-8", r"line 4 \(byte 0xe9\): .*--table_encoding"),
        (b"a\r\nx\r\ny\r\n\xe9\r\n", "t.csv", "utf-8", "line 4 "),
        (b"a\rx\ry\r\xe9\r", "t.tsv", "utf-8", "line 4 "),
        (b"caf\xe9\n1\n", "t.csv", "utf-8", "line 1 "),
        (b'{"a": 1}\n{"a": "\xff"}\n', "t.jsonl", "utf-8", r"t\.jsonl .* line 2 \(byte 0xff\)"),
        (b"a\n" + b"x" * 200_000 + b"\n\x81\n", "t.csv", "cp1252", "as cp1252 in line 3 "),
        (b"a\n" * 100_000 + b"\xc3", "t.csv", "utf-8", "line 100001 "),
        (gzip.compress(b"a\n\xe9\n", mtime=0), "t.csv.gz", "utf-8", "line 2 "),
        (codecs.BOM_UTF8 + b"a\n\xe9\n", "t.csv", "utf-8", "byte-order mark .* line 2 .*mend"),
        (codecs.BOM_UTF16_LE + b"a\0\n\0\0\xdcx\0", "t.csv", "utf-8", "utf-16-le.* line 2 "),
        (TEXT.encode("ascii", "ignore").decode().encode("utf-16-le"), "t.csv", "utf-8", "16-le"),
        ("id,a\n1,2\n".encode("utf-16-be"), "t.csv", "cp1252", "encoding=utf-16-be"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_file_and_line(
    data: bytes, name: str, encoding: str, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        values(data, name, encoding)


def test_any_encoding_that_python_has_reads_a_table_or_refuses_it_by_its_line() -> None:
    names = [one.name for one in pkgutil.iter_modules(encodings.__path__)]
    read = set()
    for name in names:
        for data in (b"a.b..c,d\n1,2\n", "café,x\n1,2\n".encode("cp1252"), b"\\u12,x\n"):
            with contextlib.suppress(LookupError):
                encoding = encoding_name(name)
                with contextlib.suppress(InputError):
                    read.add(len(values(data, "t.csv", encoding)) and encoding)
    assert {"cp1252", "utf-7", "shift_jis"} <= read


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "text",
    [
        "id,caption\n0,café\n",
        "é\n1,2\n",
        "имя,подпись\n" + "".join(f"{n}.jpg,кот номер {n}\n" for n in range(40)),
        "名前,説明\n" + "".join(f"{n}.jpg,一二三\n" for n in range(400)),
    ],
)
def test_text_of_several_bytes_per_character_is_known_by_its_zeros(
    text: str, encoding: str
) -> None:
    for name in ("t.csv", "t.csv.gz"):
        data = text.encode(encoding)
        data = gzip.compress(data, mtime=0) if name.endswith(".gz") else data
        for asked in ("utf-8", "cp1252"):
            with pytest.raises(InputError, match=f"give --table_encoding={encoding}"):
                values(data, name, asked)
        assert values(data, name, encoding)


def test_text_that_holds_zero_bytes_is_text() -> None:
    assert values(b"a,b\n" + b"\0\0,x\n" * 3 + b"abc,y\n" * 500, "t.csv")[0] == {
        "a": "\0\0",
        "b": "x",
    }
    assert values(b"a\n\0\n", "t.csv") == [{"a": "\0"}]
