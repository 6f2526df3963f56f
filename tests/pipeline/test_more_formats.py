"""An export of HEIC, JPEG 2000, PPM: the manifest names their codecs, and resume asks for them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from support.exports import check_export, directory_hashes, make_images
from support.pictures import save, smooth
from support.runs import run_export

from beam_export.images import codecs, heif

RGB = Image.fromarray(smooth())


@pytest.mark.slow
def test_codecs_stand_in_the_manifest_and_another_version_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("pillow_heif")
    images = make_images(tmp_path / "in", 2)
    buffer = io.BytesIO()
    library.from_pillow(RGB).save(buffer)
    (images / "phone.HEIC").write_bytes(buffer.getvalue())
    (images / "map.pgm").write_bytes(save(RGB.convert("L"), "PPM"))
    (images / "scan.jp2").write_bytes(save(RGB, "JPEG2000"))
    out = tmp_path / "out"
    made = run_export(images, out)
    assert {row["image_id"] for row in made.rows} >= {"phone", "map", "scan"}
    software = made.manifest["software"]
    assert "libheif" in software["heif"]
    assert software["openjpeg"]
    assert not any(codecs.is_codec(name) for step in made.manifest["steps"] for name in step)
    check_export(out, 1000)
    before = directory_hashes(out)
    again = run_export(images, out)
    assert again.shards[0].tar.stat().st_mtime_ns == made.shards[0].tar.stat().st_mtime_ns
    assert directory_hashes(out) == before
    # Another version: the shard is written again, and the manifest says so.
    monkeypatch.setitem(codecs._VERSIONS, "heif", lambda: "libheif 99")  # type: ignore[index]
    third = run_export(images, out)
    assert third.manifest["software"]["heif"] == "libheif 99"


@pytest.mark.slow
def test_what_had_no_codec_is_read_once_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("pillow_heif")
    images = make_images(tmp_path / "in", 3)
    plain = run_export(images, tmp_path / "plain")
    assert not {"heif", "openjpeg"} & plain.manifest["software"].keys()
    buffer = io.BytesIO()
    library.from_pillow(RGB).save(buffer)
    (images / "phone.heic").write_bytes(buffer.getvalue())
    with monkeypatch.context() as missing:
        missing.setattr(heif, "_library", lambda: None)
        first = run_export(images, tmp_path / "out", max_failed_fraction=1.0)
    assert [one["error"] for one in first.failures] == ["MissingCodec"]
    assert "pip install 'beam_export[heif]'" in first.failures[0]["message"]
    second = run_export(images, tmp_path / "out", max_failed_fraction=1.0)
    assert second.failures == []
    assert "phone" in {row["image_id"] for row in second.rows}
