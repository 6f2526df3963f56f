"""`beam_export.images.dali.encoder`: which way images go, and what happens when devices fail."""

from __future__ import annotations

import hashlib
import io
import itertools
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
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from support.devices import need_dali, need_gpu
from support.exports import PHOTOS, ROOT

from beam_export.errors import InputError, RunError, SampleError
from beam_export.images import factory as choose
from beam_export.images.dali import device as dali_device
from beam_export.images.dali import encoder as dali
from beam_export.images.dali import engine_pool as dali_lanes
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.dali.engine import plain_jpeg
from beam_export.images.dali.engine_pool import Lanes, split
from beam_export.images.dali.routing import Job, route
from beam_export.images.encoder import (
    EncodeSpec,
    Result,
    array_fault,
    array_shape,
    is_array,
    is_on_device,
    nbytes,
)
from beam_export.images.factory import choose_encoder
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.samples import EncodedImage

ALWAYS = EncodeSpec(mode="always")


def smooth(width: int = 48, height: int = 32) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 4, y * 6, 40 + x * 2 + y], axis=2).astype(np.uint8)


def save(im: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    im.save(buffer, kind, **options)
    return buffer.getvalue()


RGB = Image.fromarray(smooth())
RGBA = Image.merge("RGBA", [*RGB.split(), RGB.getchannel(0)])
GRAY = RGB.convert("L")
JPEG, PNG = save(RGB, "JPEG"), save(RGB, "PNG")


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


# Which way


@pytest.mark.parametrize(
    ("image", "channels"),
    [
        (JPEG, 3),
        (save(RGB, "JPEG", progressive=True), 3),
        (save(GRAY, "JPEG"), 1),
        (PNG, 3),
        (save(GRAY, "PNG"), 1),
        (save(GRAY.convert("1"), "PNG"), 1),
        (save(RGB.quantize(9), "PNG"), 3),
        (save(RGB.quantize(9), "PNG", transparency=2), 4),
        (save(RGB, "PNG", transparency=(0, 0, 40)), 4),
        (save(RGBA, "PNG"), 4),
        (save(RGB, "WEBP"), 3),
        (save(RGBA, "WEBP"), 4),
        (smooth(), 3),
        (smooth()[..., 0], 1),
        (np.dstack([smooth(), smooth()[..., 0]]), 4),
    ],
)
def test_what_dali_takes(image: Any, channels: int) -> None:
    for on_gpu in (False, True):
        job = route(image, ALWAYS, on_gpu)
        assert isinstance(job, Job), job
        assert (job.width, job.height, job.channels) == (48, 32, channels)
        assert job.is_plain is (channels != 4)


P3 = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
OTHER = P3.replace(b"curv", b"????", 1).replace(b"para", b"????")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "unread"),
        (b"<html>", "format"),
        (JPEG[:200], "unread"),
        (PNG[:20], "unread"),
        (save(RGB, "GIF"), "format"),
        (save(RGB, "BMP"), "format"),
        (save(RGB, "TIFF"), "format"),
        (save(RGB.convert("CMYK"), "JPEG"), "kind"),
        (save(RGB, "JPEG", keep_rgb=True), "kind"),
        (save(RGBA.convert("LA"), "PNG"), "kind"),
        (save(GRAY, "PNG", transparency=7), "kind"),
        (save(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(90)]), "kind"),
        (PNG[:-12] + b"\0\0\0\0eXIf\0\0\0\0" + PNG[-12:], "kind"),
        (save(RGB, "JPEG", icc_profile=OTHER), "profile"),
        (np.zeros((4, 4)), "unread"),
        ("photo.jpg", "unread"),
        (np.zeros((1, 65_501), np.uint8), "size"),
    ],
)
def test_what_goes_the_pillow_way(image: Any, reason: str) -> None:
    assert route(image, ALWAYS, False) == reason


def test_16_bit_gray_goes_the_pillow_way() -> None:
    deep = Image.fromarray(np.zeros((9, 9), np.uint16))
    assert route(save(deep, "PNG"), ALWAYS, False) == "kind"


def test_limits_and_tiny_images_go_the_pillow_way() -> None:
    assert route(JPEG, EncodeSpec(mode="always", max_pixels=48 * 32 - 1), False) == "unread"
    assert route(JPEG, EncodeSpec(mode="always", max_image_bytes=9), False) == "unread"
    tiny = smooth(15, 40)
    assert isinstance(route(tiny, ALWAYS, False), Job)
    assert route(tiny, ALWAYS, True) == "size"
    assert route(smooth(), EncodeSpec(mode="always", resize=8), True) == "size"
    strip = np.zeros((60_000, 1, 3), np.uint8)
    assert route(strip, EncodeSpec(mode="always", resize=300), False) == "unread"


def test_jobs_say_what_is_to_be_done() -> None:
    turned = save(RGB, "JPEG", exif=exif(6))
    job = route(turned, ALWAYS, False)
    assert isinstance(job, Job)
    assert (job.orientation, job.size, job.is_plain) == (6, (32, 48), False)
    job = route(turned, EncodeSpec(mode="always", resize=16, resize_mode="center_crop"), False)
    assert isinstance(job, Job)
    assert job.size == (16, 16)
    assert job.pixels == 48 * 32 + 16 * 24
    same = route(turned, EncodeSpec(mode="always", resize=32), False)
    assert isinstance(same, Job)
    assert same.plan is None


# With a device that is made up


class FakeEngine:
    """Holds `room` images at a time; fails for good when `broken`; gives None for `bad` widths."""

    def __init__(self, room: int = 99, broken: str = "", bad: Sequence[int] = ()) -> None:
        self.room, self.broken, self.bad = room, broken, bad
        self.batches: list[int] = []
        self.busy = threading.Lock()

    def encode(self, jobs: Sequence[Job]) -> list[bytes | None]:
        assert self.busy.acquire(blocking=False), "two threads at once"
        try:
            self.batches.append(len(jobs))
            if self.broken:
                raise RuntimeError(self.broken)
            if len(jobs) > self.room:
                raise RuntimeError("CUDA out of memory")
            return [None if job.width in self.bad else b"%d" % job.width for job in jobs]
        finally:
            self.busy.release()


def jobs_of(widths: Sequence[int]) -> list[Job]:
    return [Job(b"", "jpg", width, 1, 3) for width in widths]


def test_a_full_device_gets_halves_and_then_smaller_batches() -> None:
    engine = FakeEngine(room=3)
    made: list[FakeEngine] = []

    def make() -> FakeEngine:
        made.append(engine)
        return engine

    lanes = Lanes(make, 1, 1_000, "it")
    assert lanes.encode(jobs_of([10] * 8)) == [b"10"] * 8
    assert engine.batches == [8, 4, 2, 2, 4, 2, 2]
    assert lanes.most_pixels == 20
    assert len(made) == 4  # what has raised is not used again


def test_a_device_that_is_lost_is_the_runs_fault_and_never_pillows() -> None:
    lanes = Lanes(lambda: FakeEngine(broken="CUDA error 719 <0x7f>\n  at launch"), 1, 1_000, "it")
    with pytest.raises(RunError, match="DALI on it failed for a single image") as caught:
        lanes.encode(jobs_of(range(20)))
    assert "CUDA error 719 <0x7f> at launch" in caught.value.sentence


@pytest.fixture(name="faked")
def _faked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DaliEncoder]:
    """Makes open encoders whose engine is a fake one."""

    def make(engine: FakeEngine, device: str = "cpu", threads: int = 1) -> DaliEncoder:
        monkeypatch.setattr(dali, "dali_is_installed", lambda: True)
        monkeypatch.setattr(dali, "gpu_names", lambda: ("NVIDIA Fake 9",))
        monkeypatch.setattr(dali, "_try_out", lambda lanes: None)
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


def test_gpu_lanes_are_the_processs_and_go_with_their_last_user(
    faked: Callable[..., DaliEncoder],
) -> None:
    one, two = (faked(FakeEngine(), "gpu") for _ in range(2))
    one.open()
    two.open()
    assert one._lanes is two._lanes
    one.close()
    one.close()
    assert len(dali_lanes._shared) == 1
    assert two.encode_batch([smooth()]) == [EncodedImage(b"48", "jpg", 48, 32, "encoded")]
    two.close()
    assert dali_lanes._shared == {}
    assert one.identity()["device"] == "NVIDIA Fake 9"
    assert {"nvjpeg", "dali", "nvimgcodec", "libjpeg_turbo"} <= one.identity().keys()


def test_an_engine_is_never_with_two_threads(faked: Callable[..., DaliEncoder]) -> None:
    lanes = Lanes(FakeEngine, 3, 1_000, "it")
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: lanes.encode(jobs_of([5] * 7)), range(400)))
    assert results == [[b"5"] * 7] * 400
    assert len(lanes._idle) <= 3


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 9), st.integers(1, 120))
def test_batches_are_within_both_limits(widths: list[int], most: int, pixels: int) -> None:
    batches = split(jobs_of(widths), most, pixels)
    assert [width for batch in batches for width in widths[batch]] == widths
    for batch in batches:
        inside = widths[batch]
        assert 1 <= len(inside) <= most
        assert sum(inside) <= pixels or len(inside) == 1
    for one, two in itertools.pairwise(batches):
        full = widths[one.start : two.start + 1]
        assert len(full) > most or sum(full) > pixels


def test_a_machine_without_what_was_chosen_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali, "dali_is_installed", lambda: False)
    with pytest.raises(RunError, match=r"no NVIDIA DALI: pip install 'beam_export\[gpu-cu13\]'"):
        DaliEncoder(ALWAYS, "cpu").open()
    monkeypatch.setattr(dali, "dali_is_installed", lambda: True)
    monkeypatch.setattr(dali, "gpu_names", lambda: ())
    with pytest.raises(RunError, match="no NVIDIA GPU"):
        DaliEncoder(ALWAYS, "gpu").encode_batch([JPEG])


def test_a_device_that_does_not_decode_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali, "dali_is_installed", lambda: True)
    encoder = DaliEncoder(ALWAYS, "cpu")
    monkeypatch.setattr(encoder, "_engine", lambda *_: FakeEngine(bad=[64]))
    with pytest.raises(RunError, match="does not decode a plain JPEG"):
        encoder.open()


def test_devices_have_names() -> None:
    with pytest.raises(ValueError, match="device is 'tpu'"):
        DaliEncoder(ALWAYS, "tpu")
    with pytest.raises(ValueError, match="subsampling"):
        DaliEncoder(EncodeSpec(subsampling="411"), "cpu")


# What auto means


@pytest.mark.parametrize(
    ("encoder", "device", "gpu", "installed", "expected"),
    [
        ("auto", "auto", True, True, "gpu"),
        ("auto", "auto", True, False, "pillow"),
        ("auto", "auto", False, True, "pillow"),
        ("auto", "auto", False, False, "pillow"),
        ("auto", "cpu", True, True, "pillow"),
        ("auto", "gpu", True, True, "gpu"),
        ("auto", "gpu", False, True, "this machine has no NVIDIA GPU"),
        ("auto", "gpu", True, False, "--device=gpu was given, but NVIDIA DALI is not installed"),
        ("pillow", "auto", True, True, "pillow"),
        ("pillow", "cpu", True, True, "pillow"),
        ("pillow", "gpu", True, True, "contradict each other"),
        ("dali", "auto", True, True, "gpu"),
        ("dali", "auto", False, True, "cpu"),
        ("dali", "cpu", True, True, "cpu"),
        ("dali", "gpu", True, True, "gpu"),
        ("dali", "gpu", False, True, "this machine has no NVIDIA GPU"),
        ("dali", "auto", True, False, "--encoder=dali was given, but NVIDIA DALI is not"),
    ],
)
def test_choice_here(
    monkeypatch: pytest.MonkeyPatch,
    encoder: str,
    device: str,
    gpu: bool,
    installed: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(choose, "gpu_names", lambda: ("NVIDIA Fake 9",) if gpu else ())
    monkeypatch.setattr(choose, "dali_is_installed", lambda: installed)
    if " " in expected:
        with pytest.raises(InputError, match=expected) as caught:
            choose_encoder(ALWAYS, encoder, device)
        assert not installed or "pip install" not in caught.value.sentence
        return
    made = choose_encoder(ALWAYS, encoder, device, threads=3)
    assert getattr(made, "device", "pillow") == expected
    assert made.threads == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("encoder", "device", "gpu", "expected"),
    [
        ("auto", "auto", True, "gpu"),
        ("auto", "auto", False, "pillow"),
        ("dali", "auto", False, "cpu"),
        ("dali", "auto", True, "gpu"),
        ("dali", "gpu", False, "gpu"),
        ("auto", "gpu", False, "gpu"),
    ],
)
def test_choice_for_workers_elsewhere_asks_nothing_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, encoder: str, device: str, gpu: bool, expected: str
) -> None:
    monkeypatch.setattr(choose, "gpu_names", lambda: pytest.fail("asked here"))
    monkeypatch.setattr(choose, "dali_is_installed", lambda: pytest.fail("asked here"))
    made = choose_encoder(ALWAYS, encoder, device, workers_have_gpu=gpu)
    assert getattr(made, "device", "pillow") == expected


def test_copying_everything_needs_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "gpu_names", lambda: ("NVIDIA Fake 9",))
    made = choose_encoder(EncodeSpec(mode="never"), "auto", "auto", workers_have_gpu=True)
    assert isinstance(made, PillowEncoder)


def test_command_line_names_the_extra(tmp_path: Path) -> None:
    if dali_device.dali_is_installed():
        pytest.skip("NVIDIA DALI is installed")
    places = [f"--input={ROOT / 'examples'}", f"--output_dir={tmp_path}"]
    command = [sys.executable, "-m", "beam_export", "export", *places, "--encoder=dali"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 2
    (line,) = ran.stderr.strip().splitlines()
    assert "--encoder=dali was given, but NVIDIA DALI is not installed: pip install" in line
    assert "[gpu]" in line


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(dali_device.ctypes, "CDLL", missing)
    assert dali_device.gpu_names.__wrapped__() == ()


# Arrays on a device


class OnDevice:
    """What CuPy and torch show of an array on a GPU; there is no memory behind it."""

    def __init__(self, shape: tuple[int, ...], typestr: str = "|u1", strides: Any = None) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "strides": strides,
            "data": (0, False),
            "version": 3,
        }


class OnHost:
    """What torch shows of a tensor on the host."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise AttributeError("not on a GPU")


def test_arrays_on_devices_are_known() -> None:
    array = OnDevice((4, 6, 3), "<f4")
    assert is_on_device(array)
    assert not is_on_device(OnHost())
    assert not is_array(b"")
    assert is_array(array)
    assert is_array(smooth())
    assert (array_shape(array), nbytes(array)) == ((4, 6, 3), 288)
    assert nbytes(smooth()) == 48 * 32 * 3
    assert "dtype float32 and shape (4, 6, 3)" in str(array_fault(array))
    assert array_fault(OnDevice((4, 6))) is None
    assert array_fault(OnDevice((4, 6, 2))) is not None


def test_arrays_on_devices_are_dalis_and_failures_elsewhere() -> None:
    array = OnDevice((32, 48, 3))
    job = route(array, ALWAYS, True)  # type: ignore[arg-type]
    assert isinstance(job, Job)
    assert job.data is array
    (error,) = PillowEncoder(ALWAYS).encode_batch([array])  # type: ignore[list-item]
    assert isinstance(error, SampleError)
    assert error.message.startswith("the image is a OnDevice on a GPU, where only --encoder=dali")


def test_turned_views_are_made_dense() -> None:
    from beam_export.images.dali.engine import _contiguous

    class Tensor(OnDevice):
        def contiguous(self) -> str:
            return "dense"

    assert _contiguous(Tensor((2, 3, 3), strides=(3, 6, 1))) == "dense"
    for strides in (None, (9, 3, 1)):
        array = Tensor((2, 3, 3), strides=strides)
        assert _contiguous(array) is array


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
    from beam_export.images.dali.graph import Pipelines

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

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(work, range(64))) == expected * 32
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
    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(lambda image: gpu.encode_batch([image])[0], images)) == expected
    assert gpu.identity()["device"] == dali_device.gpu_names()[0]


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


def test_plain_jpegs_are_plain() -> None:
    for channels, mode in ((1, "L"), (3, "RGB")):
        with Image.open(io.BytesIO(plain_jpeg(7, 5, channels))) as im:
            assert (im.size, im.mode) == ((7, 5), mode)
