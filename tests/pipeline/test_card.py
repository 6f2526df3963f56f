"""The dataset card of exports: the types of all members, and of no others, however it was made."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.exports import Export, directory_hashes, picture, read_export
from support.runs import run_export

from beam_export.cli.main import main

yaml = pytest.importorskip("yaml", reason="PyYAML reads the card")


def features(out: Path) -> dict[str, Any]:
    """Returns the features of a card, by the name of the member."""
    matter = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    return {one.pop("name"): one for one in matter["dataset_info"]["features"]}


def array(*shape: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(shape, np.float32))
    return file.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of which late ones have other members, and one, with members of its own, is none."""
    folder = tmp_path_factory.mktemp("card") / "in" / "cats"
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"i{number:02d}.jpg").write_bytes(picture(number))
        (folder / f"i{number:02d}.txt").write_text(f"picture {number}")
        if number > 6:
            (folder / f"i{number:02d}.clip.npy").write_bytes(array(number))
    (folder / "i11.xml").write_bytes(b"<x/>")
    (folder / "i05.jpg").write_bytes(b"\xff\xd8 no image")
    (folder / "i05.json").write_bytes(b"{}")
    return folder.parent


IN_MEMORY = "--direct_num_workers=1"
OPTIONS: dict[str, Any] = {"images_per_tar": 3, "labels": "folder", "max_failed_fraction": 0.5}


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return run_export(source, tmp_path_factory.mktemp("whole") / "out", **OPTIONS)


def test_all_members_that_are_there_have_their_types(whole: Export) -> None:
    assert len(whole.failures) == 1
    assert features(whole.out) == {
        "jpg": {"dtype": "image"},
        "clip.npy": {"list": "float32"},
        "cls": {"dtype": {"class_label": {"names": {"0": "cats"}}}},
        "txt": {"dtype": "string"},
        "xml": {"dtype": "binary"},
        "__key__": {"dtype": "string"},
        "__url__": {"dtype": "string"},
    }


def test_shards_that_are_kept_give_the_same_card(
    source: Path, whole: Export, tmp_path: Path
) -> None:
    cut = Path(shutil.copytree(whole.out, tmp_path / "cut"))
    for name in ("README.md", f"images-{whole.hash}-manifest.json", whole.shards[2].tar.name):
        (cut / name).unlink()
    run_export(source, cut, **OPTIONS)
    assert directory_hashes(cut) == directory_hashes(whole.out)


@pytest.mark.parametrize("ragged_fields", [pytest.param("drop", marks=pytest.mark.slow), "fill"])
def test_members_are_those_that_rules_have_left_or_made(
    source: Path, tmp_path: Path, ragged_fields: str
) -> None:
    source = Path(shutil.copytree(source, tmp_path / "in"))
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


def test_classes_of_an_earlier_export_are_named(whole: Export, tmp_path: Path) -> None:
    export = run_export(whole.out, tmp_path / "out", images_per_tar=5)
    assert features(export.out) == features(whole.out)


def test_an_edited_card_of_an_export_that_is_gone_is_told_of(
    whole: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`datasets` finds nothing by it; removed, as both advise, it gives way to one that fits."""
    out = shutil.copytree(whole.out, tmp_path / "out")
    card = out / "README.md"
    card.write_text(card.read_text() + "mine")
    again = ["export", f"--input={whole.out}", f"--output_dir={out}", IN_MEMORY, "--clean"]
    told = f"its header names files of another export ({whole.hash}), which"
    assert main(again) == 0
    assert f"it was kept as it is\n  {told}" in capsys.readouterr().out
    assert main(["verify", str(out), IN_MEMORY]) == 0
    assert f"README.md: {told}" in capsys.readouterr().out
    card.unlink()
    assert main(again[:-1]) == 0
    assert told not in capsys.readouterr().out
    assert f"images-{read_export(out).hash}-*.tar" in card.read_text().split("---\n")[1]
