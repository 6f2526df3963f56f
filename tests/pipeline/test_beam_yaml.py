"""Pipelines in Beam YAML: rows come of images, and shards of rows."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
import yaml
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.yaml import yaml_transform
from support.exports import ROOT, picture

from beam_export.errors import InputError
from beam_export.pipeline.beam_yaml import ReadImageRows, WriteImageRows

EXAMPLES = ROOT / "examples" / "yaml"


def run(text: str, folder: Path = EXAMPLES) -> None:
    """Runs a pipeline as `python -m apache_beam.yaml.main` does."""
    options = beam.options.pipeline_options.PipelineOptions(pickle_library="cloudpickle")
    spec = yaml.load(text, Loader=yaml_transform.SafeLineLoader)
    spec["providers"] = [{"include": str(folder / "providers.yaml")}]
    with beam.Pipeline("BundleBasedDirectRunner", options=options) as pipeline:
        yaml_transform.expand_pipeline(pipeline, spec, validate_schema=None)


def rows_of(out: Path) -> list[dict[str, Any]]:
    (table,) = out.glob("images-*-0*.parquet")
    return list(pq.read_table(table).to_pylist())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(picture(number))
        (folder / f"{number}.json").write_text(json.dumps({"score": number / 5, "tags": [number]}))
        (folder / f"{number}.txt").write_text(f"picture {number}")
    return folder


def test_the_example_keeps_good_images_with_all_that_they_have(
    photos: Path, tmp_path: Path
) -> None:
    text = (EXAMPLES / "filter_and_export.yaml").read_text()
    out = tmp_path / "out"
    run(text.replace("{{ input }}", str(photos)).replace("{{ output }}", str(out)))
    rows = rows_of(out)
    assert [(row["image_id"], row["score"], row["tags"]) for row in rows] == [
        (str(number), number / 5, [number]) for number in (3, 4, 5)
    ]
    (tar,) = out.glob("*.tar")
    with tarfile.open(tar) as opened:
        assert opened.getnames() == [
            f"{n}.{ext}" for n in (3, 4, 5) for ext in ("jpg", "json", "txt")
        ]
        member = opened.extractfile("3.jpg")
        assert member is not None
        assert member.read() == (photos / "3.jpg").read_bytes()


TABLES = {
    "metadata.csv": "file_name,stars,score\n0.jpg,3,9\n1.jpg,4,9\ngone.jpg,5,9\n",
    "metadata.jsonl": '{"file_name": "0.jpg", "stars": 3}\n{"file_name": "1.jpg", "stars": 4}\n',
}


#: Each word with each of the others once; all with all are many runs of the same steps.
JOINED = [
    *(("auto", "", "metadata.csv"), ("auto", "/*.jpg", "metadata.jsonl")),
    *(("auto", "/{0,1,2}.jpg", "metadata.csv"), ("none", "", "metadata.jsonl")),
]
GIVEN = itertools.product(["auto", "none"], ["", "/*.jpg", "/{0,1,2}.jpg"], TABLES)


@pytest.mark.parametrize(
    ("metadata", "given", "table"),
    [
        *JOINED,
        *(pytest.param(*one, marks=pytest.mark.slow) for one in GIVEN if one not in JOINED),
    ],
)
def test_tables_of_image_folders_join_as_the_command_joins_them(
    photos: Path, table: str, given: str, metadata: str
) -> None:
    (photos / table).write_text(TABLES[table])
    stars = {"0": 3, "1": 4} if metadata == "auto" else {}

    def check(rows: list[Any]) -> None:
        found = {row.id: json.loads(row.metadata) for row in rows}
        assert {one: found[one].get("stars") for one in ("0", "1", "2")} == {
            one: stars.get(one) for one in ("0", "1", "2")
        }
        # What a sample has of its own stays.
        assert [found[one]["score"] for one in ("0", "1", "2")] == [0.0, 0.2, 0.4]

    options = beam.options.pipeline_options.PipelineOptions(pickle_library="cloudpickle")
    with beam.Pipeline("BundleBasedDirectRunner", options=options) as pipeline:
        rows = pipeline | ReadImageRows(f"{photos}{given}", metadata=metadata)
        assert_that(rows, check)


def test_tables_that_are_not_joined_are_logged(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, text in TABLES.items():
        (photos / name).write_text(text)
    with beam.Pipeline("BundleBasedDirectRunner") as pipeline:
        pipeline | ReadImageRows(str(photos))
    assert "not joined: metadata.csv and metadata.jsonl stand in one folder" in caplog.text


def test_rows_of_a_table_have_the_images_that_it_names(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path,score\nin/0.jpg,0.5\nin/no.jpg,1\nin/1.jpg,\n")
    with beam.Pipeline("BundleBasedDirectRunner") as pipeline:
        found = pipeline | ReadImageRows(
            str(table), columns={"score": "float64"}, error_handling={"output": "lost"}
        )
        seen = found["output"] | beam.Map(lambda row: (row.id, len(row.image), row.score))
        sizes = [(photos / f"{number}.jpg").stat().st_size for number in (0, 1)]
        assert_that(seen, equal_to([("in/0", sizes[0], 0.5), ("in/1", sizes[1], None)]))
        lost = found["lost"] | beam.Map(lambda row: (row.image_id, row.message))
        assert_that(lost, equal_to([("in/no", "there is no file at its path")]), "lost")


@pytest.mark.parametrize(
    ("damage", "columns", "message"),
    [
        ("gone", {}, "cannot be read: there is no file at its path"),
        ("tar.gz", {}, "ReadImages reads plain tars"),
        ("type", {"score": "int64"}, "its score is of type float, not int64"),
        pytest.param(
            *("type", {"tags": "string"}, "its tags is of type list, not string"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_be_read_ends_the_pipeline(
    photos: Path, tmp_path: Path, damage: str, columns: dict[str, str], message: str
) -> None:
    source = photos
    if damage == "gone":
        source = tmp_path / "table.csv"
        source.write_text("path\nin/no.jpg\n")
    elif damage == "tar.gz":
        source = tmp_path / "in.tar.gz"
        with tarfile.open(source, "w:gz") as tar:
            tar.add(photos, "")
    with (
        pytest.raises(Exception, match=message),
        beam.Pipeline("BundleBasedDirectRunner") as pipeline,
    ):
        pipeline | ReadImageRows(str(source), columns=columns)


def test_rows_without_ids_or_images_are_refused_as_the_pipeline_is_built(tmp_path: Path) -> None:
    for row in (beam.Row(name="a", image=b""), beam.Row(id="a", picture=b"")):
        with pytest.raises(InputError, match="name their ids `id`"):
            beam.Pipeline() | beam.Create([row]) | WriteImageRows(str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: WriteImageRows("out", images_per_shard=3), "no option 'images_per_shard'"),
        (lambda: WriteImageRows("out", images_per_tar=0), "--images_per_tar=0"),
        (lambda: ReadImageRows("in", columns={"score": "double"}), "'score' as 'double'"),
        (lambda: ReadImageRows("in", columns={"id": "string"}), "'id' as 'string'"),
    ],
)
def test_options_that_make_no_sense_are_refused(made: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made()


def test_columns_beside_the_image_are_metadata(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    buffer.write(picture(1))
    row = beam.Row(id="a", image=buffer.getvalue(), metadata='{"x": 1, "y": "b"}', y="c")
    with beam.Pipeline("BundleBasedDirectRunner") as pipeline:
        shards = pipeline | beam.Create([row]) | WriteImageRows(str(tmp_path / "out"))
        counts = shards | beam.Map(lambda one: (one.shard, one.samples, one.failed))
        assert_that(counts, equal_to([(0, 1, 0)]))
    (found,) = rows_of(tmp_path / "out")
    assert (found["image_id"], found["x"], found["y"]) == ("a", 1, "c")
