"""A listing in parts gives what a whole one gives: samples with their places, and all else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.exports import directory_hashes, make_images, picture
from support.runs import run_export, run_pipeline
from support.tars import make_tar

import beam_export
from beam_export.cli import main as cli
from beam_export.errors import InputError
from beam_export.sources import contents


def write(folder: Path, name: str, data: bytes | str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def tar(folder: Path, name: str, *ids: str) -> None:
    write(folder, name, make_tar(*((f"{one}.jpg", picture(len(one))) for one in ids)))


def everything(folder: Path) -> Path:
    """Makes folders of images, tars, tables, an export and files that are passed by."""
    make_images(folder / "b", 9)
    for name in ("a.jpg", "b.jpg", "c/0.jpg", "c/0.d/1.jpg", "d/1.jpg", "d.jpg", "z.jpg"):
        write(folder, name, picture(len(name)))
    for name in ("c/0.d.seg.png", "d/1.b.png", "d.seg.png", ".hidden/0.png", "e/x.zip"):
        write(folder, name, picture(1, "png"))
    write(folder, "d/metadata.csv", "file_name,score\n1.jpg,5\n")
    write(folder, "e/rows.csv", "path\nd.jpg\n")
    write(folder, "c/broken.jpg", b"\xff\xd8 no more")
    for place, name in enumerate(("aa.tar", "c/x.tar", "e/y.tar", "zz.tar")):
        tar(folder, name, f"t{place}", f"u{place}" * 2)
    run_export(folder / "b", folder / "d" / "out", images_per_tar=4)
    return folder


def facts(out: Path) -> dict[str, Any]:
    """Returns what the record of a run says of its input."""
    (path,) = out.glob("_meta/*-run.json")
    held = json.loads(path.read_text())
    return {name: held.get(name) for name in ("samples", "failures", "skipped", "hash")}


def test_a_large_input_is_listed_in_parts_and_nothing_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = everything(tmp_path / "in")
    flags = [f"--input={source}", "--images_per_tar=5", "--max_failed_fraction=0.5"]
    said = []
    for out, most in (("whole", 5000), ("parts", 3)):
        monkeypatch.setattr(contents, "_MOST_ITEMS", most)
        monkeypatch.setattr(contents, "_MANY", most)
        workers = "--direct_num_workers=1" if out == "whole" else "--direct_num_workers=2"
        assert cli.main(["export", *flags, f"--output_dir={tmp_path / out}", workers]) == 0
        lines = capsys.readouterr().out.replace(out, "out").splitlines()
        said.append([line for line in lines if not re.search(r"\d s\b|images/s", line)])
    assert directory_hashes(tmp_path / "parts") == directory_hashes(tmp_path / "whole")
    assert facts(tmp_path / "parts") == facts(tmp_path / "whole")
    assert said[0] == said[1]
    assert len(said[0]) > 5


@pytest.mark.parametrize("kind", ["tables", "exports"])
def test_what_is_held_back_is_placed_behind_the_others(tmp_path: Path, kind: str) -> None:
    write(tmp_path, "images/1.jpg", picture(1))
    write(tmp_path, "images/2.jpg", picture(2))
    for name in ("in/a", "in/b", "in/b/c"):
        if kind == "tables":
            path = tmp_path / "images" / ("1.jpg" if name == "in/a" else "2.jpg")
            write(tmp_path, f"{name}/rows.csv", f"image_id,path\n{name},{path}\n")
        else:
            tar(tmp_path, "made/x.tar", name)
            run_export(tmp_path / "made", tmp_path / name)
    hashes = []
    for in_parts in (False, True):
        out = tmp_path / str(in_parts)
        options = beam_export.ExportOptions(output_dir=str(out), images_per_tar=2)
        images = beam_export.ExportImages(str(tmp_path / "in"), options, in_parts=in_parts)
        run_pipeline(lambda pipeline, images=images: pipeline | images)  # type: ignore[misc]
        hashes.append(directory_hashes(out))
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) > 5


def test_an_empty_folder_with_brackets_in_its_name_is_no_pattern_in_parts_either(
    tmp_path: Path,
) -> None:
    (tmp_path / "[ab]" / "c").mkdir(parents=True)
    said = []
    for in_parts in (False, True):
        options = beam_export.ExportOptions(output_dir=str(tmp_path / f"out{in_parts}"))
        images = beam_export.ExportImages(f"{tmp_path}/[ab]", options, in_parts=in_parts)
        with pytest.raises(InputError) as caught:
            run_pipeline(lambda pipeline, images=images: pipeline | images)  # type: ignore[misc]
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "there is no" not in said[0]


def test_a_pattern_that_names_nothing_is_refused_in_parts_too(tmp_path: Path) -> None:
    write(tmp_path, "in/a/1.jpg", picture(1))
    write(tmp_path, "in/b/2.jpg", picture(2))
    options = beam_export.ExportOptions(output_dir=str(tmp_path / "out"))
    images = beam_export.ExportImages(f"{tmp_path}/in/*/*.png", options, in_parts=True)
    with pytest.raises(InputError, match=r"there is no .*/in/\*/\*\.png"):
        run_pipeline(lambda pipeline: pipeline | images)
