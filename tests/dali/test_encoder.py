"""`beam_export.images.dali.encoder`: with a device that is made up, on the CPU, and on a GPU."""

from __future__ import annotations

import hashlib
import io
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.devices import need_dali, need_gpu
from support.exports import PHOTOS, ROOT
from support.fake_engine import FakeEngine
from support.fake_gpu.device import FakeDevice
from support.fake_gpu.machine import libraries
from support.pictures import exif, save, smooth

from beam_export.errors import RunError, SampleError
from beam_export.images.dali import device, engine_pool
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.encoder import EncodeSpec, Result
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage

#: Where the encoder finds what tests replace.
MODULE = "beam_export.images.dali.encoder"
ALWAYS = EncodeSpec(mode="always")
RGB = Image.fromarray(smooth())
RGBA = Image.merge("RGBA", [*RGB.split(), RGB.getchannel(0)])
GRAY = RGB.convert("L")
JPEG, PNG = save(RGB, "JPEG"), save(RGB, "PNG")


# With a device that is made up


@pytest.fixture(name="faked")
def _faked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DaliEncoder]:
    """Makes open encoders whose engine is a fake one."""

    def make(engine: FakeEngine, device: str = "cpu", threads: int = 1) -> DaliEncoder:
        monkeypatch.setattr(f"{MODULE}.dali_is_installed", lambda: True)
        monkeypatch.setattr(f"{MODULE}.gpu_names", lambda: ("NVIDIA Fake 9",))
        monkeypatch.setattr(f"{MODULE}.load_libraries", lambda _: libraries(FakeDevice(1 << 30)))
        encoder = DaliEncoder(ALWAYS, device, threads)
        monkeypatch.setattr(encoder, "_engine", lambda *_: engine)
        return encoder

    return make


def test_encoder_raises_for_a_lost_device(faked: Callable[..., DaliEncoder]) -> None:
    encoder = faked(FakeEngine(broken="gone"))
    with pytest.raises(RunError, match="gone"):
        encoder.encode_batch([JPEG, PNG, b"junk"])


def test_encoder_sends_undecoded_images_to_pillow_and_counts(
    faked: Callable[..., DaliEncoder],
) -> None:
    encoder = faked(FakeEngine(bad=[48]))
    other = save(Image.fromarray(smooth(33, 33)), "JPEG", exif=exif(3))
    results = encoder.encode_batch([JPEG, other, b"junk", save(RGB, "GIF"), other])
    assert results[0] == PillowEncoder(ALWAYS).encode_batch([JPEG])[0]
    assert results[1] == results[4] == EncodedImage(b"33", "jpg", 33, 33, "encoded")
    assert isinstance(results[2], SampleError)
    assert isinstance(results[3], EncodedImage)
    counts = {"dali": 2, "pipelined": 2, "pillow-undecoded": 1, "pillow-format": 2}
    assert encoder.take_counts() == counts
    assert encoder.take_counts() == {}


def test_gpu_engines_are_the_processs_and_go_with_their_last_user(
    faked: Callable[..., DaliEncoder],
) -> None:
    one, two = (faked(FakeEngine(), "gpu") for _ in range(2))
    one.open()
    two.open()
    assert one._engines is two._engines
    one.close()
    one.close()
    assert len(engine_pool._shared) == 1
    assert two.encode_batch([smooth()]) == [EncodedImage(b"48", "jpg", 48, 32, "encoded")]
    two.close()
    assert engine_pool._shared == {}
    assert one.identity()["device"] == "NVIDIA Fake 9"
    assert {"nvjpeg", "dali", "nvimgcodec", "libjpeg_turbo"} <= one.identity().keys()


def test_a_machine_without_what_was_chosen_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.dali_is_installed", lambda: False)
    with pytest.raises(RunError, match=r"no NVIDIA DALI: pip install 'beam_export\[gpu-cu13\]'"):
        DaliEncoder(ALWAYS, "cpu").open()
    monkeypatch.setattr(f"{MODULE}.dali_is_installed", lambda: True)
    monkeypatch.setattr(f"{MODULE}.gpu_names", lambda: ())
    with pytest.raises(RunError, match="no NVIDIA GPU"):
        DaliEncoder(ALWAYS, "gpu").encode_batch([JPEG])


def test_a_device_that_does_not_decode_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.dali_is_installed", lambda: True)
    monkeypatch.setattr(f"{MODULE}.load_libraries", lambda _: libraries(FakeDevice(1 << 30)))
    encoder = DaliEncoder(ALWAYS, "cpu")
    monkeypatch.setattr(encoder, "_engine", lambda *_: FakeEngine(bad=[64]))
    with pytest.raises(RunError, match="does not decode a plain JPEG"):
        encoder.open()


def test_devices_have_names() -> None:
    with pytest.raises(ValueError, match="device is 'tpu'"):
        DaliEncoder(ALWAYS, "tpu")
    with pytest.raises(ValueError, match="subsampling"):
        DaliEncoder(EncodeSpec(subsampling="411"), "cpu")


# On the CPU


@pytest.fixture(name="encoder")
def _encoder() -> Iterator[DaliEncoder]:
    need_dali()
    encoder = DaliEncoder(EncodeSpec(mode="always", max_pixels=1_000_000), "cpu", threads=2)
    encoder.open()
    yield encoder
    encoder.close()


def test_pipelines_run_only_where_pixels_change(encoder: DaliEncoder) -> None:
    encoder.encode_batch([JPEG, PNG, save(GRAY, "JPEG"), smooth()])
    assert encoder.take_counts() == {"dali": 4}
    encoder.encode_batch([save(RGBA, "PNG"), save(RGB, "JPEG", exif=exif(5)), JPEG])
    assert encoder.take_counts() == {"dali": 3, "pipelined": 2}
    resizing = DaliEncoder(EncodeSpec(mode="always", resize=16), "cpu")
    resizing.encode_batch([JPEG, smooth(16, 16)])
    assert resizing.take_counts() == {"dali": 2, "pipelined": 1}
    resizing.close()


def test_pipelines_see_the_pixels(encoder: DaliEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from beam_export.images.dali.pipelines import Pipelines

    seen: list[tuple[int, ...]] = []
    run = Pipelines.run

    def watched(self: Pipelines, kind: Any, jobs: Any, pixels: Any) -> list[Any]:
        seen.extend(one.shape for one in pixels)
        return run(self, kind, jobs, pixels)

    monkeypatch.setattr(Pipelines, "run", watched)
    encoder.encode_batch([JPEG, save(RGB, "JPEG", exif=exif(8))])
    assert seen == [(32, 48, 3)]


def test_a_bad_image_never_takes_its_batch_with_it(encoder: DaliEncoder) -> None:
    broken = bytearray(PNG)
    broken[60] ^= 255
    bad = [b"", b"junk", JPEG[:300], PNG[:90], bytes(broken), np.zeros((2, 2)), JPEG[:-2]]
    mixed = [image for one in bad for image in (PNG, one, JPEG)]
    results = encoder.encode_batch(mixed)
    assert results[0::3] == encoder.encode_batch([PNG]) * len(bad)
    assert results[2::3] == encoder.encode_batch([JPEG]) * len(bad)
    expected = PillowEncoder(encoder.spec).encode_batch(bad)
    assert list(map(str, results[1::3])) == list(map(str, expected))


def test_encoder_pickles_as_its_options(encoder: DaliEncoder) -> None:
    expected = encoder.encode_batch([JPEG, save(RGBA, "PNG")])
    copy = pickle.loads(pickle.dumps(encoder))
    assert (copy.spec, copy.device, copy.threads) == (encoder.spec, "cpu", 2)
    assert len(pickle.dumps(copy)) < 1_000
    assert copy.encode_batch([JPEG, save(RGBA, "PNG")]) == expected
    copy.close()
    copy.close()
    copy.open()
    assert copy.encode_batch([JPEG, save(RGBA, "PNG")]) == expected
    copy.close()


def test_identity_names_device_and_versions(encoder: DaliEncoder) -> None:
    identity = encoder.identity()
    assert (identity["encoder"], identity["device"]) == ("dali", "cpu")
    assert identity["dali"].startswith("2.4.")
    assert identity["nvimgcodec"].startswith("0.9.")
    assert identity.items() >= {("pillow", PillowEncoder(ALWAYS).identity()["pillow"])}


def test_bytes_do_not_depend_on_threads_and_batches(encoder: DaliEncoder) -> None:
    images = [
        save(Image.fromarray(smooth(20 + n, 30)), "JPEG", exif=exif(n % 8 + 1)) for n in range(40)
    ]
    expected = encoder.encode_batch(images)
    for threads in (1, 3):
        other = DaliEncoder(encoder.spec, "cpu", threads)
        assert [other.encode_batch([image])[0] for image in images] == expected
        assert other.encode_batch(images[::-1])[::-1] == expected
        other.close()


def test_64_threads_on_one_process(encoder: DaliEncoder) -> None:
    spec = EncodeSpec(mode="always", resize=24, resize_mode="border")
    resizing = DaliEncoder(spec, "cpu", threads=1)
    images = [JPEG, PNG, b"junk", save(RGBA, "PNG"), save(GRAY, "JPEG", exif=exif(7)), JPEG[:400]]
    expected = [str(each.encode_batch(images)) for each in (encoder, resizing)]
    start = threading.Barrier(64)

    def work(number: int) -> str:
        start.wait()
        results = [str((encoder, resizing)[number % 2].encode_batch(images)) for _ in range(5)]
        assert len(set(results)) == 1
        return results[0]

    with ThreadPoolExecutor(64) as threads:
        assert list(threads.map(work, range(64))) == expected * 32
    resizing.close()


def damaged(seed: int) -> list[bytes]:
    """Returns 100 images, each cut, or changed in some bytes, or both."""
    dice = random.Random(seed)
    whole = [
        JPEG,
        save(RGB, "JPEG", progressive=True, quality=95),
        save(GRAY, "JPEG", restart_marker_blocks=1),
        PNG,
        save(RGBA, "PNG"),
        save(RGB.quantize(9), "PNG", transparency=2),
        save(RGB, "WEBP"),
        save(RGBA, "WEBP", lossless=True),
        save(RGB, "GIF"),
    ]
    made = []
    for _ in range(100):
        data = bytearray(dice.choice(whole))
        for _ in range(dice.randint(0, 12)):
            at = dice.randrange(len(data))
            data[at : at + dice.randint(0, 2)] = dice.randbytes(dice.randint(0, 2))
        made.append(bytes(data[: dice.choice([len(data), dice.randint(0, len(data))])]))
    return made


def account(results: Sequence[Result]) -> str:
    for result in results:
        if isinstance(result, EncodedImage):
            with Image.open(io.BytesIO(result.data)) as im:
                assert im.size == (result.width, result.height)
        else:
            assert result.message
    return hashlib.sha256(str(results).encode()).hexdigest()


@pytest.mark.parametrize("seed", range(2))
def test_damaged_images_are_results(encoder: DaliEncoder, seed: int) -> None:
    images = damaged(seed)
    first, second = (account(encoder.encode_batch(images)) for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_2000_damaged_images_are_results(encoder: DaliEncoder) -> None:
    resizing = DaliEncoder(
        EncodeSpec(mode="always", max_pixels=1_000_000, resize=40), "cpu", threads=2
    )
    for seed in range(20):
        images = damaged(1_000 + seed)
        expected = PillowEncoder(encoder.spec).encode_batch(images)
        results = encoder.encode_batch(images)
        account(results)
        account(resizing.encode_batch(images))
        # What Pillow decodes, this does too; damage that only Pillow finds may pass.
        for result, wanted in zip(results, expected, strict=True):
            assert isinstance(result, EncodedImage) or not isinstance(wanted, EncodedImage)
    counts = encoder.take_counts()
    assert sum(counts.values()) - counts.get("pipelined", 0) == 2_000
    resizing.close()


def export(out: Path, *flags: str) -> dict[str, str]:
    """Exports the photographs; returns hashes of all tars and of what failed."""
    command = [sys.executable, "-m", "beam_export", "export", f"--input={PHOTOS}"]
    more = ["--encode=always", "--duplicates=rename", "--images_per_tar=100", f"--output_dir={out}"]
    subprocess.run([*command, *more, *flags], check=True, capture_output=True, cwd=ROOT)
    files = [*out.glob("*.tar"), *out.glob("_meta/*failures.parquet")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
def test_photographs_are_those_of_pillow_and_the_same_twice(tmp_path: Path) -> None:
    need_dali()
    if not PHOTOS.is_dir():
        pytest.skip("shared/data/photos is not here")
    expected = export(tmp_path / "pillow", "--encoder=pillow")
    assert len(expected) >= 5
    device = ("--encoder=dali", "--device=cpu")
    assert export(tmp_path / "one", *device) == expected
    assert export(tmp_path / "two", *device, "--direct_num_workers=1") == expected
    kept = {"_meta", "README.md"}
    one, two = (
        {
            file.name: file.read_bytes()
            for file in (tmp_path / name).rglob("*")
            if file.is_file() and file.name not in kept and not file.name.endswith("-run.json")
        }
        for name in ("one", "two")
    )
    assert one == two
    (manifest,) = (data for name, data in one.items() if name.endswith("manifest.json"))
    assert b'"encoder": "dali"' in manifest
    assert b'"device": "cpu"' in manifest


# On a GPU


@pytest.fixture(name="gpu")
def _gpu() -> Iterator[DaliEncoder]:
    need_gpu()
    encoder = DaliEncoder(ALWAYS, "gpu")
    encoder.open()
    yield encoder
    encoder.close()


@pytest.mark.gpu
def test_gpu_gives_the_same_bytes_in_any_batch(gpu: DaliEncoder) -> None:
    images = [
        save(Image.fromarray(smooth(64 + n, 80)), "JPEG", exif=exif(n % 8 + 1)) for n in range(150)
    ]
    expected = gpu.encode_batch(images)
    assert [gpu.encode_batch([image])[0] for image in images] == expected
    with ThreadPoolExecutor(64) as threads:
        assert list(threads.map(lambda image: gpu.encode_batch([image])[0], images)) == expected
    assert gpu.identity()["device"] == device.gpu_names()[0]


@pytest.mark.gpu
@pytest.mark.parametrize("library", ["cupy", "torch"])
def test_gpu_takes_arrays_where_they_are(gpu: DaliEncoder, library: str) -> None:
    module = pytest.importorskip(library)
    images = [smooth(64, 48), smooth(64, 48)[..., 0], np.dstack([smooth(64, 48)] * 2)[..., :4]]
    expected = gpu.encode_batch(images)
    if library == "cupy":
        arrays = [module.asarray(image) for image in images]
        turned = module.asarray(images[0].transpose(2, 0, 1).copy()).transpose(1, 2, 0)
    else:
        arrays = [module.from_numpy(image.copy()).cuda() for image in images]
        turned = module.from_numpy(images[0].transpose(2, 0, 1).copy()).cuda().permute(1, 2, 0)
    assert gpu.encode_batch(arrays) == expected
    assert gpu.encode_batch([turned]) == expected[:1]
    (error,) = gpu.encode_batch(
        [arrays[0].astype("f4") if library == "cupy" else arrays[0].float()]
    )
    assert isinstance(error, SampleError)
    assert "float32" in error.message


@pytest.mark.gpu
def test_gpu_never_decodes_what_is_cut(gpu: DaliEncoder) -> None:
    whole = save(Image.fromarray(smooth(200, 200)), "JPEG")
    cut = [whole[: len(whole) * percent // 100] for percent in range(5, 100, 10)]
    expected = PillowEncoder(ALWAYS).encode_batch(cut)
    assert list(map(str, gpu.encode_batch(cut))) == list(map(str, expected))
