"""What is told of columns before anything runs, and what is left to the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from support.inputs import check, known, make_inputs
from support.runs import run_export

import beam_export
from beam_export.cli import main as cli
from beam_export.errors import InputError


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an input of each kind."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def export(places: Path) -> Path:
    run_export(places / "images.parquet", places / "export")
    return places / "export"


def test_footers_and_headers_tell_columns(places: Path, export: Path) -> None:
    columns = {"caption": pa.string(), "input_width": pa.int16(), "score": pa.float32()}
    assert known(places / "images.parquet") == columns
    assert known(export) == columns
    assert known(places / "plain") == {}
    assert known(places / "paths.csv") == {"score": None, "word": None}
    both = f"{places / 'images.parquet'},{places / 'paths.csv'}"
    assert known(both) == {**columns, "score": None, "word": None}


def test_foreign_tars_and_broken_files_are_left_to_the_pipeline(
    places: Path, export: Path, tmp_path: Path
) -> None:
    (tar,) = export.glob("*.tar")
    (tmp_path / "foreign.tar").write_bytes(tar.read_bytes())
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert known(tmp_path / "foreign.tar") is None
    assert known(tmp_path / "bad.parquet") is None


def test_what_fits_is_not_refused(places: Path, export: Path) -> None:
    check(places / "images.parquet", filter="score > 0.5 and input_width = 1 and size > 9")
    check(export, filter="SCORE > 0.5", caption_column="caption")
    check(places / "paths.csv", filter="score > 1", caption_column="word")
    check(places / "plain", metadata=str(places / "ranks.csv"), filter="rank = 1")
    check(places / "plain", metadata=str(places / "nowhere.csv"), filter="rank = 1")
    check(places / "plain", metadata=str(places / "paths.jsonl"), filter="rank = 1")


@pytest.mark.parametrize("dry", [[], ["--dry_run"]])
def test_the_command_line_starts_nothing(
    places: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dry: list[str],
) -> None:
    def run(*_: object) -> None:
        raise AssertionError("a pipeline was run")

    monkeypatch.setattr(beam.Pipeline, "run", run)
    flags = [f"--input={places / 'images.parquet'}", f"--output_dir={tmp_path / 'out'}", *dry]
    assert cli.main([*flags, "--filter=scor > 1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("beam-export: --filter='scor > 1' names 'scor'")
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    "options", [{"filter": "scor > 1"}, {"caption_column": "score"}, {"metadata_key": "id"}]
)
def test_declared_columns_are_held_against_too(
    places: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    write: Callable[..., beam_export.WriteShards] = beam_export.WriteShards
    samples = beam.Pipeline() | beam.Create([])
    with pytest.raises(InputError):
        samples | write(
            str(tmp_path / "out"),
            schema=pa.schema([("score", pa.float32())]),
            metadata=str(places / "ranks.parquet"),
            **options,
        )
    assert not (tmp_path / "out").exists()
