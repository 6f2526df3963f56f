"""Tables in image folders by themselves: which are joined, and why the others are not."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import picture, read_export

from beam_export.cli import main as cli


def parquet(rows: int) -> bytes:
    file = io.BytesIO()
    names = [f"{number}.jpg" for number in range(rows)]
    pq.write_table(pa.table({"file_name": names, "n": range(rows)}), file, row_group_size=1000)
    return file.getvalue()


def exported(tmp_path: Path, files: dict[str, bytes], *flags: str) -> list[str]:
    """Exports two images with files beside them; returns the names of the columns."""
    for number in range(2):
        (tmp_path / "in/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"in/a/{number}.jpg").write_bytes(picture(number))
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    line = ["export", f"--input={tmp_path}/in", f"--output_dir={tmp_path}/out", *flags]
    assert cli.main([*line, "--direct_num_workers=1"]) == 0
    return list(read_export(tmp_path / "out").shards[0].table.schema.names[11:])


def refused(tmp_path: Path, files: dict[str, bytes], *flags: str) -> None:
    """Tries to export two images with files beside them, which ends with exit code 2."""
    (tmp_path / "in/a").mkdir(parents=True, exist_ok=True)
    for number in range(2):
        (tmp_path / f"in/a/{number}.jpg").write_bytes(picture(number))
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    line = [f"--input={tmp_path}/in", f"--output_dir={tmp_path}/out", *flags]
    assert cli.main([*line, "--direct_num_workers=1"]) == 2
    assert not list((tmp_path / "out").glob("images-*"))


CP1252 = "file_name,text\n0.jpg,a\n1.jpg,caf\xe9\n".encode("cp1252")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a/metadata.csv", b'file_name,text\n0.jpg,"a\n', "is not valid CSV: "),
        ("a/metadata.parquet", parquet(2)[:-20], "is not a Parquet file that can be read: "),
        ("a/metadata.parquet", b"", "is not a Parquet file that can be read: "),
    ],
)
def test_a_table_that_cannot_be_read_is_told_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes, said: str
) -> None:
    assert exported(tmp_path, {name: data}) == []
    told = capsys.readouterr().out
    assert f"  not joined: the table {name} " in told
    assert said in told
    assert "  passed by: 1 (a metadata table that cannot be read)" in told
    (read, *_) = read_export(tmp_path / "out").manifest["steps"]
    # A manifest says nothing of where the input lay.
    assert str(tmp_path) not in str(read["tables_not_joined_examples"])


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a/metadata.csv", CP1252, "as utf-8 in line 3 (byte 0xe9): say how it is encoded by"),
        ("a/metadata.jsonl", b'{"file_name": "0.jpg", "t": "\xff"}', "in line 1 (byte 0xff)"),
    ],
)
@pytest.mark.parametrize("flag", ["--allow_broken_sources", "--dry_run"])
def test_a_table_that_names_images_and_cannot_be_decoded_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes, said: str, flag: str
) -> None:
    refused(tmp_path, {name: data}, flag)
    told = capsys.readouterr().err
    assert f"the table {name} cannot be read " in told
    assert said in told
    assert "--table_encoding" in told
    assert told.strip().endswith("leave the table out by --metadata=none.")


def test_one_that_names_none_and_cannot_be_decoded_is_passed_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(tmp_path, {"a/metadata.csv": b"name,text\n0,caf\xe9\n"}) == []
    assert "not joined: the table a/metadata.csv cannot be read as utf-8 in line 2" in (
        capsys.readouterr().out
    )


def lines(*rows: dict[str, object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize(
    ("files", "said", "left"),
    [
        (
            {
                "a/metadata.jsonl": lines(
                    {"file_name": "0.jpg", "n": 1, "text": "x"}, {"file_name": "1.jpg", "n": "one"}
                )
            },
            "'n' holds int64 (in row 1 of a/metadata.jsonl) and string (in row 2 of a/metadata.js",
            ["text"],
        ),
        (
            {
                "metadata.jsonl": lines({"file_name": "a/1.jpg", "n": "one", "text": "x"}),
                "a/metadata.parquet": parquet(1),
            },
            "'n' holds int64 (in a/metadata.parquet) and string (in row 1 of metadata.jsonl)",
            ["text"],
        ),
        (
            {"a/metadata.csv": b"file_name,width,input_width\n0.jpg,1,2\n"},
            "the column 'width' would be stored as 'input_width', and so would 'input_width'",
            ["input_width"],
        ),
    ],
)
def test_a_column_without_one_type_is_left_out_and_told_with_file_and_flag(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, bytes],
    said: str,
    left: list[str],
) -> None:
    assert exported(tmp_path, files) == left
    told = capsys.readouterr().out
    assert "  not joined: the column " in told
    assert said in told
    (read, *_) = read_export(tmp_path / "out").manifest["steps"]
    assert read["columns_not_joined"] == 1
    assert str(tmp_path) not in str(read)
    if "--text_columns=n" in told:
        assert exported(tmp_path, {}, "--text_columns=n", "--clean") == ["n", *left]
        assert "not joined" not in capsys.readouterr().out


def test_a_table_in_another_encoding_is_joined_once_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(tmp_path, {"a/metadata.csv": CP1252}, "--table_encoding=cp1252") == ["text"]
    assert "not joined" not in capsys.readouterr().out
    assert [row["text"] for row in read_export(tmp_path / "out").rows] == ["a", "café"]


def test_a_table_that_is_damaged_midway_is_told_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(parquet(3000))
    at = pq.read_metadata(pa.BufferReader(bytes(data))).row_group(2).column(0).data_page_offset
    data[at : at + 200] = bytes(200)
    exported(tmp_path, {"a/metadata.parquet": bytes(data)})
    assert "not joined: the table a/metadata.parquet is damaged in row group" in (
        capsys.readouterr().out
    )


def test_of_several_tables_in_one_folder_none_is_taken_and_all_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = b"file_name,text\n0.jpg,a\n"
    files = {"a/metadata.csv": table, "a/metadata.jsonl": b"", "a/metadata.parquet": parquet(2)}
    assert exported(tmp_path, files) == []
    told = capsys.readouterr().out
    assert (
        "  not joined: a/metadata.csv and metadata.jsonl and metadata.parquet stand in one folder"
        in told
    )
    assert "  passed by: 3 (several metadata tables in one folder)" in told
    # Nothing is told of them where nobody wants them, nor of a list that a flag names.
    ids = f"--ids={tmp_path}/in/ids.txt"
    exported(tmp_path, {"ids.txt": b"a/0\n"}, "--metadata=none", ids, "--clean")
    told = capsys.readouterr().out
    assert "stand in one folder" not in told
    assert "  passed by: 1 .csv, 1 .jsonl, 1 .parquet\n" in told


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_table_without_the_column_of_names_and_one_of_another_name_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dry_run: bool
) -> None:
    files = {"a/metadata.csv": b"image,text\n0.jpg,a\n", "captions.csv": b"image_id,t\na/0,x\n"}
    if dry_run:
        exported(tmp_path, {})
        for name, data in files.items():
            (tmp_path / "in" / name).write_bytes(data)
        (tmp_path / "in/ids.txt").write_text("a/0\na/1\n")
        line = [f"--input={tmp_path}/in", f"--output_dir={tmp_path}/other", "--dry_run"]
        line.append(f"--ids={tmp_path}/in/ids.txt")
        capsys.readouterr()
        assert cli.main(line) == 0
    else:
        assert exported(tmp_path, files) == []
    told = capsys.readouterr().out
    assert "  not joined: the table a/metadata.csv has no text in a column 'file_name'" in told
    assert "; it has a column 'image': called 'file_name' it would be joined by itself" in told
    assert "  passed by: captions.csv has a column 'image_id': --metadata=.../captions.csv" in told
    # Not the list that a flag names.
    assert "  passed by: 2 .csv\n" in told


def test_what_the_line_advises_joins_the_table(tmp_path: Path) -> None:
    table = b"file_name,text\na/0.jpg,x\na/1.jpg,y\n"
    flags = (f"--metadata={tmp_path}/in/captions.csv", "--metadata_key=file_name")
    assert exported(tmp_path, {"captions.csv": table}, *flags) == ["text"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            ["0.jpg", "1.jpg", "1.jpg"],
            "; 1 row names an image a second time ('a/1.jpg')",
        ),
        (["0.jpg", "./0.jpg", "1.jpg", "0.jpg"], "; 2 rows name an image a second time ('a/"),
        (["0.jpg", "1.jpg", "gone.jpg"], "2 of 3 rows have a sample ('a/gone.jpg' has none)\n"),
        (
            ["0.jpg", "0.jpg", "gone.jpg"],
            "2 of 3 rows have a sample ('a/gone.jpg' has none); 1",
        ),
    ],
)
def test_a_second_row_for_an_image_is_told_and_the_first_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[str], said: str
) -> None:
    lines = "".join(f"{name},{number}\n" for number, name in enumerate(rows))
    assert exported(tmp_path, {"a/metadata.csv": f"file_name,n\n{lines}".encode()}) == ["n"]
    assert said in capsys.readouterr().out
    found = {row["image_id"]: row["n"] for row in read_export(tmp_path / "out").rows}
    assert found["a/0"] == 0
    if "1.jpg" in rows:
        assert found["a/1"] == rows.index("1.jpg")


def test_columns_of_such_tables_are_chosen_as_others_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = b"file_name,a,b,c\n0.jpg,1,2,3\n"
    flags = ("--drop_columns=a,nosuch", "--text_columns=b")
    assert exported(tmp_path, {"a/metadata.csv": table}, *flags) == ["b", "c"]
    told = capsys.readouterr().out
    assert "--drop_columns: there is no column 'nosuch', in no sample and no table" in told
    assert [row["b"] for row in read_export(tmp_path / "out").rows] == ["2", None]


@pytest.mark.parametrize(
    "given",
    [
        *(
            pytest.param(given, marks=pytest.mark.slow)
            for given in ("in/a/*.jpg", "in/a/{0,1}.jpg")
        ),
        "in/**/*.jpg",
        "in/a/0.jpg,in/a/1.jpg",
        # Of a table that several inputs reach each row counts once.
        "in/a/0.*,in/a",
    ],
)
def test_a_table_joins_whichever_way_its_images_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    folder = tmp_path / "in/a"
    folder.mkdir(parents=True)
    for number in range(2):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    (folder / "metadata.csv").write_text("file_name,n\n0.jpg,5\n1.jpg,6\n")
    inputs = given.replace("in/", f"{tmp_path}/in/")
    line = ["export", f"--input={inputs}", f"--output_dir={tmp_path}/out", "--duplicates=first"]
    assert cli.main([*line, "--direct_num_workers=1"]) == 0
    assert {row["image_id"][-1]: row["n"] for row in read_export(tmp_path / "out").rows} == {
        "0": 5,
        "1": 6,
    }
    said = capsys.readouterr().out
    assert "; 2 of 2 rows have a sample\n" in said
    # It is not of what the input names, and passed by without a word if nobody wants it.
    cli.main([*line, "--metadata=none", "--clean", "--direct_num_workers=1"])
    assert "passed by" not in capsys.readouterr().out or given.endswith(",in/a")


def test_several_tables_near_single_files_are_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(tmp_path, {"a/metadata.csv": b"file_name,n\n", "a/metadata.jsonl": b""})
    capsys.readouterr()
    line = [f"--input={tmp_path}/in/a/{{0,1}}.jpg", f"--output_dir={tmp_path}/o", "--dry_run"]
    assert cli.main(line) == 0
    said = capsys.readouterr().out
    assert said.count("stand in one folder") == 1
    assert "more like these" not in said
