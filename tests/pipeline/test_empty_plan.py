"""What is said, and listed, where no sample is left to plan."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import left_over, picture, read_export
from support.runs import run_export

from beam_export.cli import main as cli
from beam_export.errors import InputError


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images that are none, and a table of what is not there."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "images").mkdir()
    for number in range(3):
        (folder / "images" / f"{number}.jpg").write_bytes(b"no image")
    (folder / "images" / "2.json").write_text("nonsense")
    rows = [{"path": f"gone{number}.jpg"} for number in range(4)]
    (folder / "gone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_all_samples_failed_and_the_list_is_there(
    bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = [f"--output_dir={out}", "--direct_num_workers=1"]
    assert cli.main([f"--input={bad / 'images'},{bad / 'gone.jsonl'}", *flags, "--probe=full"]) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    (table,) = out.rglob("*.*")
    assert said.startswith("beam-export: the input holds no image that can be exported: 7 failed ")
    assert f"(all are listed in {table}), 4 with OSError (the first, {bad / 'gone0.jpg'}: " in said
    assert "1 with ValueError (" in said
    listed = pq.read_table(table).to_pylist()
    assert len(listed) == 7
    assert {one["stage"] for one in listed} == {"list", "decode"}
    assert not left_over(out)


def test_the_next_run_takes_the_list_away(bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(InputError, match="all are listed in"):
            run_export(bad / "gone.jsonl", out)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(picture(1))
    assert run_export(tmp_path / "in", out, resume=False).ids == ["a"]
    assert not list(out.rglob("*failures*"))


def test_no_list_is_put_beside_a_dataset(bad: Path, tmp_path: Path) -> None:
    table = pa.table({"jpg": [picture(1)], "key": ["a"]})
    pq.write_table(table, tmp_path / "t.parquet")
    made = run_export(tmp_path / "t.parquet", tmp_path / "out")
    with pytest.raises(InputError, match="4 failed, 4 with OSError"):
        run_export(bad / "gone.jsonl", tmp_path / "out")
    assert read_export(tmp_path / "out").failures == []
    assert read_export(tmp_path / "out").hash == made.hash


def test_a_dry_run_tells_and_writes_nothing(
    bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--input={bad / 'gone.jsonl'}", f"--output_dir={tmp_path / 'out'}", "--dry_run"]
    assert cli.main(flags) == 2
    assert "4 failed, 4 with OSError (the first, " in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
