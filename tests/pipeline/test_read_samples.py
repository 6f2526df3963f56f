"""What the end of a run tells of image files: large JSON, and text that is no Unicode."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.exports import check_export, picture, read_export
from support.runs import run_export

from beam_export.cli import main as cli
from beam_export.errors import InputError

slow = pytest.mark.slow
IN_MEMORY = "--direct_num_workers=1"
HALF = "\\ud83d"


def run(source: Path, out: Path, *flags: str) -> None:
    line = ["export", f"--input={source}", f"--output_dir={out}", *flags]
    assert cli.main([*line, IN_MEMORY]) == 0


def verify(out: Path, *flags: str) -> int:
    return cli.main(["verify", str(out), *flags, IN_MEMORY])


def folder(tmp_path: Path, files: dict[bytes, bytes]) -> Path:
    for name, data in files.items():
        path = os.path.join(os.fsencode(tmp_path), b"in", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    return tmp_path / "in"


def test_names_that_are_not_utf_8_have_no_escapes_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {b"caf\xe9/1.jpg": picture(1), b"caf\xe9/1.txt": b"a", b"\xff.jpg": picture(2)}
    source = folder(tmp_path, {**files, b"plain.jpg": picture(3), b"t\xe9.json": b"{}"})
    run(source, tmp_path / "out", "--labels=folder")
    export = read_export(tmp_path / "out")
    assert {row["image_id"] for row in export.rows} == {"caf\ufffd/1", "\ufffd", "plain"}
    paths = {row["original_path"] for row in export.rows}
    assert paths == {f"{source}/{name}" for name in ("caf\ufffd/1.jpg", "\ufffd.jpg", "plain.jpg")}
    assert {row["label"] for row in export.rows} == {"caf\ufffd", None}
    assert len(export.shards[0].members) == 5
    assert "  2 samples have text that is no Unicode" in capsys.readouterr().out
    check_export(tmp_path / "out", 1000)
    assert verify(tmp_path / "out", f"--against={source}") == 0
    # Whoever lists the same again finds all of it finished.
    run(source, tmp_path / "out", "--labels=folder")
    assert "complete already" in capsys.readouterr().out


def test_names_that_differ_in_such_bytes_alone_are_one_id_and_have_a_way_on(
    tmp_path: Path,
) -> None:
    source = folder(tmp_path, {b"caf\xe8.jpg": picture(1), b"caf\xe9.jpg": picture(2)})
    with pytest.raises(InputError, match=r"1 id comes more than once.*--duplicates=rename"):
        run_export(source, tmp_path / "out")
    export = run_export(source, tmp_path / "out", duplicates="rename")
    assert export.ids == ["caf\ufffd", "caf\ufffd-1"]
    again = run_export(source, tmp_path / "again", duplicates="rename", workers=2)
    assert (again.hash, again.ids) == (export.hash, export.ids)


def test_a_failed_image_of_such_a_name_is_listed_so(tmp_path: Path) -> None:
    source = folder(tmp_path, {b"\xff.jpg": b"no image", b"ok.jpg": picture(1)})
    export = run_export(source, tmp_path / "out", max_failed_fraction=1)
    (failure,) = export.failures
    assert failure["image_id"] == "\ufffd"
    assert failure["original_path"] == f"{source}/\ufffd.jpg"


@pytest.mark.parametrize("compressed", [False, True])
def test_members_of_tars_of_such_names_are_kept_so(tmp_path: Path, compressed: bool) -> None:
    source = folder(tmp_path, {b"x": b""}) / ("t.tar.gz" if compressed else "t.tar")
    members = [("caf\udce9.jpg", picture(1)), ("b.jpg", picture(2))]
    members.append(("b.json", f'{{"a{HALF}": "{HALF}b", "c": ["{HALF}"]}}'.encode()))
    make_tar(source, members)
    export = run_export(source, tmp_path / "out")
    rows = {row["image_id"]: row for row in export.rows}
    assert rows["caf\ufffd"]["original_path"] == f"{source}#caf\ufffd.jpg"
    assert (rows["b"]["a\ufffd"], rows["b"]["c"]) == ("\ufffdb", ["\ufffd"])
    assert export.shards[0].members["b.json"] == members[2][1]
    encode = next(one for one in export.manifest["steps"] if one["step"] == "encode")
    assert encode["text_not_unicode"] == 2


def make_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    import io
    import tarfile

    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("form", ["sidecars", "jsonl", "joined"])
def test_lone_surrogates_of_json_are_mended_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    files = {b"%d.jpg" % number: picture(number) for number in range(3)}
    texts = [f'"{HALF} x"', '"ok"', f'"a{HALF}"']
    if form == "sidecars":
        files |= {b"%d.json" % n: f'{{"t": {text}}}'.encode() for n, text in enumerate(texts)}
    source = folder(tmp_path, files)
    flags = ["--caption_column=t"]
    if form != "sidecars":
        rows = (f'{{"image_id": "{n}", "path": "{n}.jpg", "t": {t}}}' for n, t in enumerate(texts))
        (tmp_path / "in/t.jsonl").write_text("\n".join(rows))
    if form == "jsonl":
        source /= "t.jsonl"
    if form == "joined":
        flags += [f"--metadata={tmp_path}/in/t.jsonl", "--drop_columns=path"]
    run(source, tmp_path / "out", *flags)
    export = read_export(tmp_path / "out")
    assert [row["t"] for row in export.rows] == ["\ufffd x", "ok", "a\ufffd"]
    captions = [export.shards[0].members[f"{n}.txt"].decode() for n in range(3)]
    assert captions == ["\ufffd x", "ok", "a\ufffd"]
    assert "  2 samples have text that is no Unicode" in capsys.readouterr().out
    assert verify(tmp_path / "out") == 0


def test_text_that_is_mended_makes_another_dataset_than_other_text(tmp_path: Path) -> None:
    hashes = set()
    for number, text in enumerate([HALF, "\\ud83d\\ude00", "?", "\\ufffd"]):
        source = folder(tmp_path / str(number), {b"0.jpg": picture(0)})
        (source / "0.json").write_text(f'{{"t": "{text:>6}"}}')
        hashes.add(run_export(source, tmp_path / f"out{number}").hash)
    assert len(hashes) >= 3


def large(letters: int = 1 << 20) -> bytes:
    return json.dumps({"a": "x" * letters}).encode()


@pytest.mark.parametrize("tar", ["", pytest.param(".tar", marks=slow), ".tar.gz"])
def test_large_json_is_counted_with_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tar: str
) -> None:
    files = {"0.jpg": picture(0), "0.json": large(), "1.jpg": picture(1), "1.json": b'{"a": "y"}'}
    files |= {"2.jpg": picture(2), "2.json": large(), "3.jpg": picture(3), "3.json": large(99)}
    source = folder(tmp_path, {name.encode(): data for name, data in files.items()})
    if tar:
        source = tmp_path / f"t{tar}"
        make_tar(source, list(files.items()))
    run(source, tmp_path / "out")
    told = capsys.readouterr().out
    example = "'0'" if tar else "'0.jpg'"
    assert f"  the .json of 2 samples is larger than 1 MiB ({example} say): it travels" in told
    export = read_export(tmp_path / "out")
    assert [row["a"] for row in export.rows] == [None, "y", None, "x" * 99]
    assert export.shards[0].members["0.json"] == large()
    # Where no columns are wanted, and in an export of the export, none is missed.
    run(source, tmp_path / "none", "--drop_columns=*")
    run(tmp_path / "out", tmp_path / "again")
    assert "larger than 1 MiB" not in capsys.readouterr().out


CHOSEN: list[tuple[list[str], list[str], list[str] | None]] = [
    ([], ["1"], None),
    (["--drop_columns=big"], ["0", "1"], None),
    (["--drop_columns=b*"], ["0", "1"], None),
    (["--text_columns=big"], ["0", "1"], ["36893488147419103232", "7"]),
    (["--drop_columns=*"], ["0", "1", "2"], None),
]
#: Whoever reads the .json, its columns are chosen by the same lines.
MORE = [
    pytest.param(tar, *chosen, marks=() if (tar, at) in ((".tar", 0), (".tar.gz", 3)) else slow)
    for tar in (".tar", ".tar.gz")
    for at, chosen in enumerate(CHOSEN)
]
BIG = '{"big": 36893488147419103232, "n": %d}'


@pytest.mark.parametrize(
    ("tar", "flags", "ids", "big"), [*(("", *chosen) for chosen in CHOSEN), *MORE]
)
def test_what_no_column_holds_costs_no_image_where_it_is_left_out_or_text(
    tmp_path: Path, tar: str, flags: list[str], ids: list[str], big: list[str] | None
) -> None:
    files = {"0.jpg": picture(0), "0.json": (BIG % 0).encode(), "1.jpg": picture(1)}
    files |= {"1.json": b'{"big": 7, "n": 1}', "2.jpg": picture(2), "2.json": b"{broken"}
    source = folder(tmp_path, {name.encode(): data for name, data in files.items()})
    if tar:
        source = tmp_path / f"t{tar}"
        make_tar(source, list(files.items()))
    run(source, tmp_path / "out", "--max_failed_fraction=1", *flags)
    export = read_export(tmp_path / "out")
    assert export.ids == ids
    assert {row["image_id"] for row in export.failures} == {"0", "1", "2"} - set(ids)
    for row in export.failures:
        assert "--drop_columns" in row["message"]
    # The member travels as it came, whatever becomes of its columns.
    assert export.shards[0].members["1.json"] == b'{"big": 7, "n": 1}'
    if big is not None:
        assert [row["big"] for row in export.rows] == big
    assert verify(tmp_path / "out", f"--against={source}") == 0


@pytest.mark.parametrize("given", ["nosuch", pytest.param("nosuch,n", marks=slow), "x*"])
def test_a_column_that_is_nowhere_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    source = folder(tmp_path, {b"0.jpg": picture(0), b"0.json": b'{"n": 1, "m": 2}'})
    run(source, tmp_path / "out", f"--drop_columns={given}")
    unknown = given.split(",")[0]
    told = capsys.readouterr().out
    assert f"  --drop_columns: there is no column {unknown!r}, in no sample and no table" in told
    run(source, tmp_path / "other", "--drop_columns=n", "--text_columns=m")
    assert "there is no column" not in capsys.readouterr().out
