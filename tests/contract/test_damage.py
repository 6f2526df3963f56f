"""JPEGs that have lost data: listed as failures, or kept and counted, whoever decodes them."""

from __future__ import annotations

import concurrent.futures
import io
import json
import shutil
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from PIL import Image, ImageFile
from support.exports import picture
from support.runs import run_export, run_pipeline

import beam_export
from beam_export.cli import display
from beam_export.cli import main as cli
from beam_export.errors import SampleError
from beam_export.images import header
from beam_export.images.dali.device import dali_is_installed
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.dali.routing import route
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_decoder import decode_stored
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.probe import probe_pixels
from beam_export.images.transcode import transcode_batch
from beam_export.samples import EncodedImage
from beam_export.verify.findings import Findings

EOI = b"\xff\xd9"
KEEP = EncodeSpec(damaged="keep")
IN_MEMORY = "--direct_num_workers=1"
needs_dali = pytest.mark.skipif(not dali_is_installed(), reason="NVIDIA DALI is not installed")


def encode(mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(11).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    im = Image.fromarray(pixels).resize((300, 200), Image.Resampling.BICUBIC).convert(mode)
    im.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def cut(data: bytes) -> bytes:
    """Returns a JPEG that misses a third of its data, and has its end marker."""
    return data[: len(data) * 2 // 3] + EOI


WHOLE = encode()
#: Each decodes with Pillow, some only under its flag.
DAMAGED = {
    "a third is missing": cut(WHOLE),
    "progressive": cut(encode(progressive=True)),
    "no end": WHOLE[: len(WHOLE) // 2],
    "no end marker": WHOLE[:-2],
    "gray": cut(encode("L")),
    "cmyk": cut(encode("CMYK")),
    "rows": cut(encode(restart_marker_rows=1)),
    "stray bytes first": WHOLE[:20] + b"abc" + cut(WHOLE)[20:],
}
#: Whose structure holds, so that `auto` copies them.
COPIED = ("a third is missing", "gray")
each_damage = pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)


def process(data: bytes, spec: EncodeSpec) -> Any:
    encoder = PillowEncoder(spec)
    encoder.open()
    (result,) = transcode_batch([data], [""], encoder)
    return result


@pytest.mark.parametrize("mode", ["auto", "always"])
@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_a_failure_where_it_is_decoded(name: str, mode: str) -> None:
    data = DAMAGED[name]
    result = process(data, EncodeSpec(mode=mode))
    if mode == "auto" and name in COPIED:
        assert result.encoding == "copied"
        return
    assert isinstance(result, SampleError)
    assert (result.stage, result.error) == ("decode", "DamagedImage")
    assert "lost data" in result.message
    assert "--damaged=keep" in result.message
    with pytest.raises(SampleError, match="lost data"):
        probe_pixels(data, EncodeSpec())


def kept_pixels(data: bytes) -> np.ndarray:
    loaded = decode_stored(header.open_image(data, KEEP), data, KEEP)
    assert loaded.remarks == ("damaged",)
    return np.asarray(loaded.source)


@each_damage
def test_kept_as_pillow_shows_it_under_its_flag(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = kept_pixels(data)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    result = process(data, EncodeSpec(mode="always", damaged="keep"))
    assert isinstance(result, EncodedImage)
    assert (result.encoding, result.remarks) == ("encoded", ("damaged",))
    assert probe_pixels(data, KEEP)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))


def test_what_libjpeg_gives_up_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is broken between two scans: Pillow raises, unless its flag is set."""
    data = encode(progressive=True)
    at = data.rindex(b"\xff\xc4")
    for broken in (
        data[: at + 4] + b"\xee" + data[at + 5 :],
        WHOLE[: len(WHOLE) // 2] + WHOLE,
    ):
        assert process(broken, EncodeSpec()).error == "UndecodableImage"
        assert process(broken, KEEP).remarks == ("damaged",)
        pixels = kept_pixels(broken)
        with monkeypatch.context() as flag:
            flag.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
            assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(broken))))


def test_whole_images_are_as_ever_under_keep() -> None:
    for data in WHOLE, encode(progressive=True), encode("CMYK"), encode(restart_marker_rows=1):
        for mode in "auto", "always":
            result = process(data, EncodeSpec(mode=mode, damaged="keep"))
            assert result == process(data, EncodeSpec(mode=mode))
            assert result.remarks == ()
    assert not isinstance(process(b"\xff\xd8\xff\xe0 no more", KEEP), EncodedImage)


def test_threads_do_not_see_each_other() -> None:
    """What is kept in one thread is a failure in another, at the same time."""
    specs = [EncodeSpec(mode="always"), EncodeSpec(mode="always", damaged="keep")] * 100
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda spec: process(DAMAGED["no end"], spec), specs))
    assert [isinstance(one, EncodedImage) for one in results] == [False, True] * 100


def test_damage_goes_pillows_way() -> None:
    zeroed_data = zeroed(WHOLE)
    assert not isinstance(route(WHOLE, EncodeSpec(), False), str)
    for spec in EncodeSpec(mode="always"), KEEP:
        assert route(zeroed_data, spec, False) == route(zeroed_data, spec, True) == "damaged"
        assert route(cut(WHOLE), spec, False) == "damaged"


@needs_dali
@each_damage
def test_dali_treats_damage_alike(data: bytes) -> None:
    for mode in "auto", "always":
        for damaged in "fail", "keep":
            spec = EncodeSpec(mode=mode, damaged=damaged)
            encoder = DaliEncoder(spec, "cpu")
            (result,) = transcode_batch([data], [""], encoder)
            encoder.close()
            assert str(result) == str(process(data, spec))
            assert getattr(result, "remarks", None) == getattr(process(data, spec), "remarks", None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        (folder / f"whole{number}.jpg").write_bytes(picture(number))
    (folder / "a-cut.jpg").write_bytes(DAMAGED["rows"])
    return folder


def zeroed(data: bytes) -> bytes:
    """Returns a JPEG whose markers are all in place, and whose data is not."""
    at = len(data) // 2
    return data[:at] + bytes(300) + data[at + 300 :]


def summary(out: Path) -> list[str]:
    (manifest,) = out.glob("*-manifest.json")
    return display.summary(json.loads(manifest.read_text()), str(out), 1.0).splitlines()


def encode_step(out: Path) -> dict[str, Any]:
    (manifest,) = out.glob("*-manifest.json")
    steps = json.loads(manifest.read_text())["steps"]
    return next(step for step in steps if step["step"] == "encode")


def test_the_command_lists_damage_and_names_the_way_to_find_more(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--input={source}", f"--output_dir={tmp_path / 'out'}", IN_MEMORY]
    assert cli.main(["export", *flags, "--max_failed_fraction=0.5"]) == 0
    said = capsys.readouterr().out
    assert "1 JPEG failed as damaged; the 6 copied ones were not decoded: --probe=full" in said
    assert encode_step(tmp_path / "out")["failed_damaged"] == 1
    assert "damaged" not in encode_step(tmp_path / "out")


def test_the_command_keeps_damage_and_counts_it(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = [f"--input={source}", f"--output_dir={out}", IN_MEMORY, "--damaged=keep"]
    assert cli.main(["export", *flags]) == 0
    assert "1 of the encoded JPEGs is damaged, and was kept" in capsys.readouterr().out
    assert encode_step(out)["damaged"] == 1
    (manifest,) = out.glob("*-manifest.json")
    before = manifest.read_bytes()
    assert "simplejpeg" in json.loads(before)["software"]
    assert json.loads(before)["options"]["damaged"] == "keep"
    # A run that finds the shard finished counts the same.
    manifest.unlink()
    assert cli.main(["export", *flags]) == 0
    assert manifest.read_bytes() == before
    assert cli.main(["verify", str(out), "--decode", IN_MEMORY]) == 0


def test_samples_of_a_pipeline_are_judged_and_counted_alike(tmp_path: Path) -> None:
    samples = [
        beam_export.Sample("whole", WHOLE),
        beam_export.Sample("damaged", DAMAGED["rows"]),
    ]

    def export(name: str, **options: Any) -> None:
        write = beam_export.WriteShards(str(tmp_path / name), max_failed_fraction=0.5, **options)
        run_pipeline(lambda pipeline: pipeline | beam.Create(samples) | write)

    export("fail")
    export("keep", damaged="keep")
    export("never", encode="never")
    assert encode_step(tmp_path / "keep")["damaged"] == 1
    for name, written in ("fail", 1), ("keep", 2), ("never", 2):
        (manifest,) = (tmp_path / name).glob("*-manifest.json")
        assert json.loads(manifest.read_text())["totals"]["written"] == written, name


def test_whole_images_are_told_of_as_ever(tmp_path: Path, source: Path) -> None:
    (source / "a-cut.jpg").unlink()
    made = run_export(source, tmp_path / "out")
    assert not any("damaged" in line for line in summary(tmp_path / "out"))
    assert "simplejpeg" not in made.manifest["software"]
    assert not any("remarks" in name for shard in made.shards for name in shard.facts)
    run_export(source, tmp_path / "keep", damaged="keep")
    assert not any("damaged" in line for line in summary(tmp_path / "keep"))


def test_probe_full_finds_what_copying_does_not(source: Path, tmp_path: Path) -> None:
    (source / "b-zeroed.jpg").write_bytes(zeroed(WHOLE))
    assert process(zeroed(WHOLE), EncodeSpec()).encoding == "copied"
    flags = [f"--input={source}", "--max_failed_fraction=0.5", IN_MEMORY]
    for probe, failed in ("off", 1), ("full", 2):
        out = tmp_path / probe
        assert cli.main(["export", *flags, f"--output_dir={out}", f"--probe={probe}"]) == 0
        (manifest,) = out.glob("*-manifest.json")
        assert json.loads(manifest.read_text())["totals"]["failed"] == failed
    # It was decoded: there is nothing more to do.
    assert not any("--probe" in line for line in summary(tmp_path / "full"))


def test_verify_decode_finds_damage(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "a-cut.jpg").unlink()
    (source / "b-zeroed.jpg").write_bytes(zeroed(WHOLE))
    run_export(source, tmp_path / "out")
    run_export(source, tmp_path / "never", encode="never")
    run_export(source, tmp_path / "keep", encode="never", damaged="keep")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    shutil.copy(next((tmp_path / "out").glob("*.tar")), foreign / "some-000000.tar")
    for name, code in ("out", 1), ("never", 1), ("keep", 0), ("foreign", 1):
        capsys.readouterr()
        flags = ["verify", str(tmp_path / name), "--decode", "--json", IN_MEMORY]
        assert cli.main(flags) == code, name
        faults = Findings.from_json(capsys.readouterr().out).faults
        assert [fault.member for fault in faults] == ["b-zeroed.jpg"] * code
        assert all("lost data" in fault.problem for fault in faults)
