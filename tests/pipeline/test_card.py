"""The dataset card of exports: the types of all members, and of no others, however it was made."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.exports import directory_hashes, picture
from support.runs import run_export

yaml = pytest.importorskip("yaml", reason="PyYAML reads the card")


def features(out: Path) -> dict[str, Any]:
    """Returns the features of a card, by the name of the member."""
    matter = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    return {one.pop("name"): one for one in matter["dataset_info"]["features"]}


def array(*shape: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(shape, np.float32))
    return file.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Images of which late ones have other members, and one, with members of its own, is none."""
    folder = tmp_path / "in" / "cats"
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"i{number:02d}.jpg").write_bytes(picture(number))
        (folder / f"i{number:02d}.txt").write_text(f"picture {number}")
        if number > 6:
            (folder / f"i{number:02d}.clip.npy").write_bytes(array(number))
    (folder / "i11.xml").write_bytes(b"<x/>")
    (folder / "i05.jpg").write_bytes(b"\xff\xd8 no image")
    (folder / "i05.json").write_bytes(b"{}")
    return tmp_path / "in"


OPTIONS: dict[str, Any] = {"images_per_tar": 3, "labels": "folder", "max_failed_fraction": 0.5}


def test_all_members_that_are_there_have_their_types(source: Path, tmp_path: Path) -> None:
    export = run_export(source, tmp_path / "out", **OPTIONS)
    assert len(export.failures) == 1
    assert features(export.out) == {
        "jpg": {"dtype": "image"},
        "clip.npy": {"list": "float32"},
        "cls": {"dtype": {"class_label": {"names": {"0": "cats"}}}},
        "txt": {"dtype": "string"},
        "xml": {"dtype": "binary"},
        "__key__": {"dtype": "string"},
        "__url__": {"dtype": "string"},
    }


def test_shards_that_are_kept_give_the_same_card(source: Path, tmp_path: Path) -> None:
    whole = run_export(source, tmp_path / "whole", **OPTIONS)
    cut = run_export(source, tmp_path / "cut", **OPTIONS)
    for name in ("README.md", f"images-{cut.hash}-manifest.json", cut.shards[2].tar.name):
        (cut.out / name).unlink()
    run_export(source, cut.out, **OPTIONS)
    assert directory_hashes(cut.out) == directory_hashes(whole.out)


@pytest.mark.parametrize("ragged_fields", ["drop", "fill"])
def test_members_are_those_that_rules_have_left_or_made(
    source: Path, tmp_path: Path, ragged_fields: str
) -> None:
    for path in source.rglob("*.npy"):
        path.unlink()
    (source / "cats/i11.xml").unlink()
    options = {**OPTIONS, "ragged_fields": ragged_fields, "json_columns": "label"}
    for _ in range(2):
        export = run_export(source, tmp_path / "out", **options)
        held = {name.partition(".")[2] for one in export.shards for name in one.members}
        assert set(features(export.out)) == {*held, "__key__", "__url__"}
        (export.out / "README.md").unlink()
        (export.out / f"images-{export.hash}-manifest.json").unlink()


def test_classes_of_an_earlier_export_are_named(source: Path, tmp_path: Path) -> None:
    earlier = run_export(source, tmp_path / "earlier", **OPTIONS)
    export = run_export(earlier.out, tmp_path / "out", images_per_tar=5)
    assert features(export.out) == features(earlier.out)
