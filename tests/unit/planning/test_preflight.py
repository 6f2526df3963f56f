"""Columns that are known before anything runs, and what is left to the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.inputs import check, known, make_inputs

from beam_export.errors import InputError
from beam_export.planning import preflight


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an input of each kind."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("name", ["json", "paths.jsonl", "nowhere", "*.nothing"])
def test_what_only_reading_tells_is_left_to_the_pipeline(places: Path, name: str) -> None:
    assert known(places / name) is None
    both = f"{places / 'images.parquet'},{places / name}"
    assert known(both) is None
    check(places / name, filter="anything > 1", caption_column="whatever")


def test_very_much_is_left_to_the_pipeline(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_MOST_LISTED", 1)
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
