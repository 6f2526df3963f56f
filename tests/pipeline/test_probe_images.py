"""A look before planning: what it finds in a header, what in the pixels, and exact shards."""

from __future__ import annotations

import collections
import io
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image
from support.exports import check_export, directory_hashes, make_images, picture
from support.runs import run_export, run_pipeline

import beam_export
from beam_export.errors import SampleError
from beam_export.images.encoder import EncodeSpec
from beam_export.images.probe import HEAD_BYTES, probe_head, probe_pixels
from beam_export.pipeline.probe_images import probe_sample
from beam_export.samples import WHOLE, Member, Probed, SampleRef, Stored
from beam_export.sources.reader import Reader

SPEC = EncodeSpec()
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"]
EXTS = {"JPEG": "jpg"}


def encoded(kind: str, size: tuple[int, int] = (300, 200), **how: Any) -> bytes:
    file = io.BytesIO()
    noise = Image.effect_noise(size, 90).convert("RGB")
    noise.save(file, kind, **how)
    return file.getvalue()


def ref_of(path: Path, **changes: Any) -> SampleRef:
    image = Member(path.suffix[1:], str(path), WHOLE, path.stat().st_size)
    return SampleRef(b"", path.stem, str(path), image, (), {}, image.size)._replace(**changes)


class CountingReader(Reader):
    """Counts the bytes that are asked for."""

    asked = 0

    def read(self, member: Member) -> bytes:
        self.asked += member.size
        return super().read(member)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("full", [False, True])
def test_every_format(kind: str, full: bool, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(encoded(kind))
    with Reader(1 << 30) as reader:
        found = probe_sample(ref_of(path), reader, SPEC, full)
    assert found == Probed(300, 200, EXTS.get(kind, kind.lower()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_header_takes_the_first_bytes_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(encoded(kind, (900, 800)))
    assert path.stat().st_size > 3 * HEAD_BYTES[0]
    with CountingReader(1 << 30) as reader:
        assert probe_sample(ref_of(path), reader, SPEC, False)[:2] == (900, 800)
    assert reader.asked == HEAD_BYTES[0]


def test_a_jpeg_whose_frame_comes_late_takes_some_more(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded("JPEG", (1500, 1500), icc_profile=bytes(200_000), quality=99))
    assert path.stat().st_size > HEAD_BYTES[1]
    with CountingReader(1 << 30) as reader:
        assert probe_sample(ref_of(path), reader, SPEC, False) == Probed(1500, 1500, "jpg")
    assert reader.asked == sum(HEAD_BYTES)


def test_sizes_are_those_of_the_image_as_it_came(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "TIFF"):
        data = encoded(kind, exif=exif)
        assert probe_pixels(data, SPEC)[:2] == (300, 200)
        assert probe_head(data, True, SPEC) == probe_pixels(data, SPEC)


def test_a_header_that_cannot_be_read_says_what_its_decoding_would() -> None:
    for data in (b"no image at all", b"", encoded("PNG")[:20], encoded("JPEG")[:20]):
        with pytest.raises(SampleError) as head:
            probe_head(data, True, SPEC)
        with pytest.raises(SampleError) as pixels:
            probe_pixels(data, SPEC)
        assert head.value.args == pixels.value.args


def test_limits() -> None:
    spec = EncodeSpec(max_pixels=300 * 200 - 1)
    for kind in FORMATS:
        data = encoded(kind)
        with pytest.raises(SampleError, match="more than max_pixels=59999"):
            probe_head(data, True, spec)


def test_too_many_bytes_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded("JPEG"))
    with Reader(100) as reader, pytest.raises(SampleError, match="more than --max_image_bytes=100"):
        probe_sample(ref_of(path), reader, EncodeSpec(max_image_bytes=100), False)


def test_pixels_that_do_not_decode() -> None:
    data = encoded("PNG")
    assert probe_head(data[: len(data) // 2], True, SPEC) == Probed(300, 200, "png")
    with pytest.raises(SampleError) as error:
        probe_pixels(data[: len(data) // 2], SPEC)
    assert error.value.stage == "decode"


def test_what_could_not_be_encoded_is_found_by_a_full_look_alone(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    Image.new("L", (1, 1000)).save(path)
    spec = EncodeSpec(resize=100)  # of the smaller side: 100 x 100,000 pixels
    with Reader(1 << 20) as reader:
        assert probe_sample(ref_of(path), reader, spec, False) == Probed(1, 1000, "png")
        with pytest.raises(SampleError, match="a side of a JPEG has at most") as error:
            probe_sample(ref_of(path), reader, spec, True)
    assert error.value.stage == "encode"


def test_a_field_that_has_the_image_s_name(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded("PNG"))
    other = tmp_path / "x.jpg"
    other.write_bytes(b"1")
    ref = ref_of(path, fields=(Member("jpg", str(other), WHOLE, 1),))
    with Reader(1 << 20) as reader:
        with pytest.raises(SampleError, match="the name that its image takes"):
            probe_sample(ref, reader, SPEC, True)
        assert probe_sample(ref, reader, EncodeSpec(mode="never"), True).format == "png"


def test_what_is_spilled_is_known_without_reading_it() -> None:
    ref = SampleRef(b"", "a", "", Member("jpg", "/nowhere", 0, 9), (), {}, 9)
    ref = ref._replace(stored=Stored("jpg", 5, 6, "encoded", None))
    with Reader(100) as reader:
        assert probe_sample(ref, reader, SPEC, False) == Probed(5, 6, "jpg")


def test_a_file_that_shrank_is_the_reader_s_failure(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(encoded("JPEG"))
    ref = ref_of(path, image=Member("jpg", str(path), WHOLE, 10 << 20))
    with Reader(1 << 30) as reader, pytest.raises(SampleError, match="had 10485760 bytes when"):
        probe_sample(ref, reader, SPEC, False)


# The whole chain.


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images, of which one has no header and one has half of its pixels."""
    folder = make_images(tmp_path_factory.mktemp("spoiled"), 12)
    names = sorted(folder.rglob("*.*"))
    names[2].write_bytes(b"no image")
    names[6].write_bytes((half := encoded("PNG"))[: len(half) // 2])
    return folder


@pytest.mark.parametrize(
    ("probe", "workers", "sizes", "lost"),
    [("header", 1, [4, 3, 3], 1), ("full", 2, [4, 4, 2], 2)],
)
def test_shards_are_exact_over_what_can_be_read(
    spoiled: Path, tmp_path: Path, probe: str, workers: int, sizes: list[int], lost: int
) -> None:
    out = tmp_path / "out"
    export = run_export(
        spoiled, out, workers=workers, images_per_tar=4, probe=probe, max_failed_fraction=0.5
    )
    assert export.sizes == sizes
    assert len(export.failures) == 2
    assert {one["stage"] for one in export.failures} == {"decode"}
    (step,) = [one for one in export.manifest["steps"] if one["step"] == "probe"]
    assert step == {"step": "probe", "probe": probe, "failed": lost}
    assert export.manifest["totals"]["read"] == 12
    if probe == "full":
        check_export(out, 4, "--samples", "10")


def test_a_look_changes_nothing_of_what_is_whole(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 6)
    outs = {}
    for probe in ("off", "full"):
        run_export(folder, tmp_path / probe, images_per_tar=4, probe=probe)
        outs[probe] = directory_hashes(tmp_path / probe)
    changed = {name for name in outs["off"] if outs["off"][name] != outs["full"][name]}
    assert outs["off"].keys() == outs["full"].keys()
    assert {name[-14:] for name in changed} == {"-manifest.json", "README.md"}


def test_samples_of_a_pipeline(tmp_path: Path) -> None:
    good = [beam_export.Sample(f"s{n}", picture(n)) for n in range(5)]
    cut = encoded("JPEG")
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    by_path = beam_export.Sample("s22", None, str(tmp_path / "cut.jpg"))
    out = tmp_path / "out"
    run_pipeline(
        lambda p: (
            p
            | beam.Create([*good, by_path])
            | beam_export.WriteShards(str(out), 2, probe="full", max_failed_fraction=0.5)
        )
    )
    check_export(out, 2, "--samples", "5")


def test_counters_tell_where_every_sample_is(spoiled: Path, tmp_path: Path) -> None:
    options = beam_export.ExportOptions(
        output_dir=str(tmp_path / "out"), probe="header", max_failed_fraction=0.5
    )
    pipeline = beam.Pipeline(runner=FnApiRunner())
    pipeline | beam_export.ExportImages(str(spoiled), options)
    result = pipeline.run()
    result.wait_until_finish()
    found: collections.Counter[str] = collections.Counter()
    for one in result.metrics().query()["counters"]:  # one a step
        if one.key.metric.namespace == "beam_export":
            found[one.key.metric.name] += one.committed
    assert found["read-samples"] == 12
    assert found["planned-samples"] == 11
    assert found["failed-samples"] == 2
    assert found["copied-samples"] + found["encoded-samples"] == 10
    assert found["written-bytes"] > 0
