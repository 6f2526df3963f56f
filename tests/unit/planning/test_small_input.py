"""Inputs that one process copies sooner than workers could start."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from beam_export.options import ExportOptions
from beam_export.planning import small_input
from beam_export.planning.small_input import is_copied_at_once
from beam_export.sources.contents import look_at
from beam_export.sources.patterns import parse_inputs


def small(folder: Path, **given: object) -> bool:
    options = ExportOptions(output_dir="out", **given)  # type: ignore[arg-type]
    contents = look_at(parse_inputs(str(folder)), "", options.input_format)
    return is_copied_at_once(contents, options)


def save(path: Path, mode: str = "RGB") -> None:
    Image.new(mode, (64, 48)).save(path)


def test_some_jpegs_are_copied_at_once(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg")
    save(tmp_path / "b.JPEG")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "metadata.csv").write_text("file_name,n\na.jpg,1\n")
    assert small(tmp_path)
    assert small(tmp_path, images_per_tar=1, order="shuffled", limit=1)


@pytest.mark.parametrize(
    "given",
    [
        {"encode": "always"},
        # Of a file that only is named like a JPEG, its header would be read by a codec.
        {"encode": "never"},
        {"resize": 32},
        {"probe": "full"},
        {"filter": "width > 3"},
        {"ids": "ids.txt"},
        {"metadata": "labels.csv"},
    ],
)
def test_whatever_reads_more_than_structure_has_workers(
    tmp_path: Path, given: dict[str, object]
) -> None:
    save(tmp_path / "a.jpg")
    assert not small(tmp_path, **given)


@pytest.mark.parametrize("other", ["b.png", "b.tar", "cmyk", "damaged"])
def test_other_files_have_workers(tmp_path: Path, other: str) -> None:
    save(tmp_path / "a.jpg")
    if other == "cmyk":
        save(tmp_path / "b.jpg", "CMYK")
    elif other == "damaged":
        (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-9])
    else:
        (tmp_path / other).write_bytes(b"x")
    assert not small(tmp_path)


@pytest.mark.parametrize("limit", ["_MOST_IMAGES", "_MOST_BYTES"])
def test_much_has_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    for number in range(20):
        save(tmp_path / f"{number}.jpg")
    total = sum(one.stat().st_size for one in tmp_path.iterdir())
    most = 20 if limit == "_MOST_IMAGES" else total
    monkeypatch.setattr(small_input, limit, most)
    assert small(tmp_path)
    monkeypatch.setattr(small_input, limit, most - 1)
    assert not small(tmp_path)


def test_what_is_not_known_has_workers() -> None:
    assert not is_copied_at_once(None, ExportOptions(output_dir="out"))
