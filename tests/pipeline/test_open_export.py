"""What a pipeline has written is what `open_export` gives back: every sample, member and column."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.exports import Export, make_images
from support.runs import run_export

import beam_export
from beam_export.exports.dataset import ExportedDataset, open_export
from beam_export.metadata.schema import STRUCTURAL


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """An export with splits, classes, captions, JSON, and an image that fails."""
    folder = make_images(tmp_path_factory.mktemp("in"), 40)
    for path in list(folder.rglob("*.*g"))[::2]:
        path.with_suffix(".json").write_text(json.dumps({"score": len(path.name), "tags": ["a"]}))
        path.with_suffix(".txt").write_text(f"a caption of {path.stem}")
    (folder / "part1" / "broken.jpg").write_bytes(b"no image")
    return run_export(
        folder,
        tmp_path_factory.mktemp("out") / "out",
        images_per_tar=6,
        labels="folder",
        split="train=0.75,val=0.25",
        max_failed_fraction=0.5,
    )


@pytest.fixture
def dataset(made: Export) -> ExportedDataset:
    return open_export(made.out)


def test_every_sample_has_its_image_its_members_and_its_columns(
    made: Export, dataset: ExportedDataset
) -> None:
    assert len(dataset) == len(made.rows) == 40
    structural = STRUCTURAL.names
    shards = {shard.tar.name: shard.members for shard in made.shards}
    for number, (row, sample) in enumerate(zip(made.rows, dataset, strict=True)):
        key = row["member_name"].rpartition(".")[0]
        members = {
            name.removeprefix(f"{key}."): data
            for name, data in shards[row["tar_file"]].items()
            if name.startswith(f"{key}.")
        }
        assert sample.image == members.pop("jpg")
        assert sample.fields == members
        assert (sample.id, sample.path) == (row["image_id"], row["original_path"])
        assert sample.metadata == {
            name: value for name, value in row.items() if name not in structural
        }
        if number % 7 == 0:
            assert dataset[number] == dataset.by_id(sample.id) == sample


def test_splits_are_those_that_the_rows_say(made: Export, dataset: ExportedDataset) -> None:
    assert list(dataset.splits) == ["train", "val"]
    for name, part in dataset.splits.items():
        wanted = [row["image_id"] for row in made.rows if row["split"] == name]
        assert [sample.id for sample in part] == wanted
        assert len(part) == len(wanted) > 0


def test_an_export_is_exported_again_from_its_samples(
    dataset: ExportedDataset, tmp_path: Path
) -> None:
    """A `Sample` that is read can be written, with all that it has."""
    import apache_beam as beam
    from support.runs import run_pipeline

    out = tmp_path / "again"
    samples = [
        # The class stands in the metadata, and its member is made of it.
        beam_export.Sample(one.id, one.image, one.path, one.metadata, one.fields)
        for one in dataset
    ]
    run_pipeline(
        lambda p: p | beam.Create(samples) | beam_export.WriteShards(out, images_per_tar=10)
    )
    again = open_export(out)
    assert {one.id: one for one in again} == {one.id: one for one in samples}
