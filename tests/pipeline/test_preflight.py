"""What is told of columns before anything runs, and what is left to the pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import picture
from support.runs import run_export

import beam_export
from beam_export.cli import main as cli
from beam_export.errors import InputError
from beam_export.options import ExportOptions
from beam_export.planning import preflight as preview
from beam_export.planning.preflight import check_columns, preview_columns
from beam_export.sources.patterns import parse_inputs


def known(source: Path | str, **options: Any) -> dict[str, pa.DataType | None] | None:
    made = ExportOptions(output_dir="out", **options)
    return preview_columns(parse_inputs(str(source)), made)


def check(source: Path | str, **options: Any) -> None:
    check_columns(parse_inputs(str(source)), ExportOptions(output_dir="out", **options))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an input of each kind."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "plain").mkdir()
    (folder / "plain" / "a.jpg").write_bytes(picture(1))
    (folder / "plain" / "a.txt").write_text("a")
    (folder / "json").mkdir()
    (folder / "json" / "a.jpg").write_bytes(picture(1))
    (folder / "json" / "a.json").write_text('{"own": 1}')
    table = pa.table(
        {
            "image": [picture(2), picture(3)],
            "key": ["x", "y"],
            "score": pa.array([0.25, 0.75], pa.float32()),
            "width": pa.array([1, 2], pa.int16()),
            "caption": ["a cat", None],
        }
    )
    pq.write_table(table, folder / "images.parquet")
    (folder / "paths.csv").write_text("path,score,word\nplain/a.jpg,1,x\n")
    (folder / "paths.jsonl").write_text(json.dumps({"path": "plain/a.jpg", "score": 1}))
    pq.write_table(pa.table({"image_id": ["a"], "rank": [1]}), folder / "ranks.parquet")
    (folder / "ranks.csv").write_text("image_id,rank\na,1\n")
    return folder


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


@pytest.mark.parametrize("name", ["json", "paths.jsonl", "nowhere", "*.nothing"])
def test_what_only_reading_tells_is_left_to_the_pipeline(places: Path, name: str) -> None:
    assert known(places / name) is None
    both = f"{places / 'images.parquet'},{places / name}"
    assert known(both) is None
    check(places / name, filter="anything > 1", caption_column="whatever")


def test_foreign_tars_and_broken_files_are_left_to_the_pipeline(
    places: Path, export: Path, tmp_path: Path
) -> None:
    (tar,) = export.glob("*.tar")
    (tmp_path / "foreign.tar").write_bytes(tar.read_bytes())
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert known(tmp_path / "foreign.tar") is None
    assert known(tmp_path / "bad.parquet") is None


def test_very_much_is_left_to_the_pipeline(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "_MOST_LISTED", 1)
    assert known(places / "plain") is None
    assert known(places / "plain" / "*.jpg") is None
    assert known(places / "images.parquet") is not None


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "images.parquet",
            {"filter": "scor > 1"},
            "names 'scor', and the columns are image_id (string), size (int64), width (int32), "
            "height (int32), format (string), caption (string), input_width (int16), score (float)",
        ),
        ("images.parquet", {"filter": "caption > 5"}, "Cannot compare values of type VARCHAR"),
        ("images.parquet", {"caption_column": "score"}, "--caption_column=score is of type float"),
        ("images.parquet", {"caption_column": "captoin"}, "there is no such column"),
        ("paths.csv", {"filter": "scor > 1"}, "format (string), score, word."),
        ("paths.csv", {"caption_column": "words"}, "the metadata columns are score, word."),
        ("plain", {"filter": "score > 1"}, "names 'score', and the columns are image_id"),
        ("plain", {"caption_column": "score"}, "no metadata columns are there"),
        ("plain", {"metadata": "ranks.parquet", "filter": "rnk > 1"}, "rank (int64)"),
        ("plain", {"metadata": "ranks.csv", "filter": "rnk > 1"}, "format (string), rank."),
        ("json", {"metadata": "ranks.parquet", "metadata_key": "id"}, "has no column 'id'"),
        ("json", {"metadata": "ranks.csv", "metadata_key": "id"}, "but image_id, rank: name"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(
    places: Path, name: str, options: dict[str, str], said: str
) -> None:
    if "metadata" in options:
        options = {**options, "metadata": str(places / options["metadata"])}
    with pytest.raises(InputError) as caught:
        check(places / name, **options)
    assert said in caught.value.sentence


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
