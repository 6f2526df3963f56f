"""`beam_export.images.dali.encoder` on a GPU that is made up: every image, whatever fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from support.fake_gpu.device import FakeDevice, Faults
from support.fake_gpu.machine import MODULE, account, bad_image, libraries, numbered, use
from support.pictures import exif, save, smooth

from beam_export.errors import RunError
from beam_export.images.dali import device_share
from beam_export.images.dali.device_share import LARGEST
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.encoder import EncodeSpec, ImageInput, Result
from beam_export.samples import EncodedImage

ALWAYS = EncodeSpec(mode="always", max_pixels=1_000_000)
RESIZED = EncodeSpec(mode="always", resize=40)
BATCH = 128
TOTAL = 4 << 30
#: Bytes of a device that holds a third of what two batches take.
SMALL = 12 << 20

#: Shares of occasions at which each fault strikes: calls for batches, images for `none`.
RATES = {
    "no-engine": 0.05,
    "decode-raises": 0.03,
    "decode-none": 0.005,
    "encode-raises": 0.03,
    "encode-none": 0.001,
    "pipeline-raises": 0.05,
    "no-memory": 0.002,
    "poisoned": 0.0005,
}


@pytest.fixture(name="on_small_device")
def _on_small_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has encoders make do with a device for which any other is too large to be filled here."""
    monkeypatch.setattr(device_share, "LARGEST", 1 << 17)
    monkeypatch.setattr(device_share, "CONTEXT", 0)


@pytest.fixture(name="encoder_on")
def _encoder_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., DaliEncoder]]:
    made: list[DaliEncoder] = []

    def make(device: FakeDevice, spec: EncodeSpec = ALWAYS, **options: object) -> DaliEncoder:
        use(monkeypatch, device)
        made.append(DaliEncoder(spec, "gpu", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for encoder in made:
        encoder.close()


def mixed(count: int) -> tuple[list[ImageInput], frozenset[int]]:
    """Returns images of all kinds, and the numbers of the 2 % that are bad."""
    bad = frozenset(range(17, count, 50))
    return [bad_image(at) if at in bad else numbered(at) for at in range(count)], bad


def encode_as_a_runner(
    make: Callable[[], DaliEncoder], device: FakeDevice, images: Sequence[ImageInput]
) -> tuple[list[Result], int]:
    """Encodes in batches from four threads; starts a new process where one has ended, and counts.

    A batch whose process has ended is encoded again, as a runner does with a bundle.
    """
    parts = [images[at : at + BATCH] for at in range(0, len(images), BATCH)]
    done: dict[int, list[Result]] = {}
    processes = 0
    while len(done) < len(parts):
        processes += 1
        encoder = make()
        left = [at for at in range(len(parts)) if at not in done]

        def work(at: int, encoder: DaliEncoder = encoder) -> None:
            done[at] = encoder.encode_batch(parts[at])

        with ThreadPoolExecutor(4) as threads:
            failed = [threads.submit(work, at) for at in left]
        for one in failed:
            error = one.exception()
            assert error is None or isinstance(error, RunError), error
        encoder.close()
        assert processes < 200, "it never ends"
        device.new_process()
    return [result for at in range(len(parts)) for result in done[at]], processes


#: Results without faults by spec and number of images.
_calm: dict[tuple[EncodeSpec, int], list[Result]] = {}


def check_faulty(
    encoder_on: Callable[..., DaliEncoder], spec: EncodeSpec, count: int, rates: Mapping[str, float]
) -> Faults:
    images, bad = mixed(count)
    if (spec, count) not in _calm:
        device = FakeDevice(SMALL)
        wanted, processes = encode_as_a_runner(lambda: encoder_on(device, spec), device, images)
        assert processes == 1
        check_device(device)
        account(wanted, bad)
        _calm[spec, count] = wanted
    # Few engines are made: the second one fails for sure, and other kinds at their fifth occasion.
    device = FakeDevice(SMALL, Faults(rates, sure={"no-engine": 2}))
    results, _ = encode_as_a_runner(lambda: encoder_on(device, spec), device, images)
    # Errors compare by identity.
    assert list(map(str, results)) == list(map(str, _calm[spec, count]))
    check_device(device)
    return device.faults


def check_device(device: FakeDevice) -> None:
    assert device.violations == []
    # It is made use of: of two engines, one alone takes up to half, and less after faults.
    assert device.total // 8 < device.peak <= device.total
    assert device.refused == device.faults.struck["no-memory"]
    # All work is on streams of engines: on stream 0 they would wait for each other.
    assert 0 not in device.streams_used


@pytest.mark.usefixtures("on_small_device")
@pytest.mark.parametrize(
    ("spec", "kind"),
    [*((ALWAYS, kind) for kind in [*RATES, "all"]), (RESIZED, "pipeline-raises"), (RESIZED, "all")],
)
def test_no_fault_loses_doubles_or_mixes_an_image(
    encoder_on: Callable[..., DaliEncoder], spec: EncodeSpec, kind: str
) -> None:
    rates = RATES if kind == "all" else {kind: 3 * RATES[kind]}
    struck = check_faulty(encoder_on, spec, 300, rates).struck
    assert all(struck[name] for name in rates), struck


@pytest.mark.slow
@pytest.mark.usefixtures("on_small_device")
@pytest.mark.parametrize("spec", [ALWAYS, RESIZED], ids=["as it is", "resized"])
def test_10000_images_with_all_faults(
    encoder_on: Callable[..., DaliEncoder], spec: EncodeSpec
) -> None:
    struck = check_faulty(encoder_on, spec, 10_000, RATES).struck
    assert all(struck[name] for name in RATES), struck


# What is where


def test_the_pool_keeps_memory_from_batch_to_batch(encoder_on: Callable[..., DaliEncoder]) -> None:
    device = FakeDevice(TOTAL)
    encoder = encoder_on(device, RESIZED)
    images = [numbered(at) for at in range(96)]
    encoder.encode_batch(images)
    first = device.grown
    for _ in range(5):
        encoder.encode_batch(images)
    assert device.grown - first <= 2
    # Without it, each batch asks the device again.
    device.threshold, first = 0, device.grown
    for _ in range(5):
        encoder.encode_batch(images)
    assert device.grown - first >= 5


@pytest.mark.parametrize("processes", [1, 4])
def test_batches_fit_into_the_share_of_a_process(
    encoder_on: Callable[..., DaliEncoder], monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """Batches of many small images, of few large ones, and both at once, on a small device."""
    monkeypatch.setattr(device_share, "LARGEST", 1 << 20)
    monkeypatch.setattr(device_share, "CONTEXT", 0)
    device = FakeDevice(120 << 20)
    encoder = encoder_on(device, EncodeSpec(mode="always", resize=100), processes=processes)
    small = numbered(3)
    large = save(Image.new("RGB", (1_200, 860)), "JPEG", exif=exif(6))
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(encoder.encode_batch, [[small] * 300, [large] * 5, [large, small]]))
    assert [len(one) for one in done] == [300, 5, 2]
    assert all(isinstance(result, EncodedImage) for one in done for result in one)
    # One of the large images alone takes so much.
    assert 3 * 1_200 * 860 < device.peak <= device.total // processes
    assert device.violations == []


def test_tiny_and_huge_images_are_pillows_on_every_gpu(
    encoder_on: Callable[..., DaliEncoder],
) -> None:
    huge = np.zeros((LARGEST // 4_096 + 1, 4_096), np.uint8)
    encoder = encoder_on(FakeDevice(TOTAL), EncodeSpec(mode="always"))
    results = encoder.encode_batch([huge, huge[:-1, :4_095], huge[:15, :40]])
    assert all(isinstance(result, EncodedImage) for result in results)
    assert encoder.take_counts() == {"pillow-size": 2, "dali": 1}


def test_nvimagecodec_alone_encodes_what_keeps_its_pixels(
    encoder_on: Callable[..., DaliEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = FakeDevice(TOTAL)
    encoder = encoder_on(device, changes_pixels=False)
    monkeypatch.setattr(f"{MODULE}.dali_is_installed", lambda: False)
    real = libraries(device)._replace(build=lambda *_, **__: pytest.fail("DALI was used"))
    monkeypatch.setattr(f"{MODULE}.load_libraries", lambda _: real)
    images, bad = mixed(96)
    account(encoder.encode_batch(images), bad)
    counts = encoder.take_counts()
    # Orientations 3 and 6, and alpha.
    assert counts["pillow-pixels"] == sum(
        at % 12 in (3, 4, 6) and at not in bad for at in range(96)
    )
    assert "pipelined" not in counts
    another = encoder_on(device, changes_pixels=False)
    monkeypatch.setattr(f"{MODULE}.codec_is_installed", lambda: False)
    with pytest.raises(RunError, match="this worker has no NVIDIA DALI"):
        another.open()


class Elsewhere:
    """An array of another library, in the device's memory."""

    def __init__(self, device: FakeDevice, pixels: np.ndarray) -> None:
        self._block = device.allocate(pixels.nbytes, 0)
        self._block.data[:] = pixels.reshape(-1)
        self._block.waited = True
        self._device = device
        self.__cuda_array_interface__ = {
            "version": 2,
            "shape": pixels.shape,
            "typestr": "|u1",
            "data": (self._block.address, False),
        }

    def __del__(self) -> None:
        self._device.free(self._block, 0)


@pytest.mark.parametrize("spec", [ALWAYS, RESIZED], ids=["as it is", "resized"])
def test_arrays_of_the_device_are_encoded_where_they_are(
    encoder_on: Callable[..., DaliEncoder], spec: EncodeSpec
) -> None:
    device = FakeDevice(TOTAL)
    encoder = encoder_on(device, spec)
    pixels = smooth(48, 64)
    alpha = np.dstack([pixels, np.full((64, 48), 255, np.uint8)])
    hosted = [pixels, pixels[..., 0].copy(), pixels[..., :1].copy(), alpha]
    wanted = encoder.encode_batch(hosted)
    assert encoder.encode_batch([Elsewhere(device, one) for one in hosted]) == wanted
    assert encoder.take_counts()["dali"] == 8
    assert device.violations == []


def test_a_device_that_is_full_is_waited_for(encoder_on: Callable[..., DaliEncoder]) -> None:
    device = FakeDevice(TOTAL)
    encoder = encoder_on(device)
    wanted = encoder.encode_batch([numbered(5), numbered(11)])
    others = device.allocate(TOTAL - device.used - 10_000, 0)
    waits = iter(range(1))

    def pause(_: float) -> None:
        if next(waits, None) is None and others.alive:
            device.free(others, 0)

    assert encoder._engines is not None
    encoder._engines._pause = pause
    assert encoder.encode_batch([numbered(5), numbered(11)]) == wanted
    assert not others.alive


def test_a_gpu_that_does_not_answer_is_one_sentence(
    encoder_on: Callable[..., DaliEncoder],
) -> None:
    device = FakeDevice(TOTAL)
    encoder = encoder_on(device)
    device.poisoned = True
    with pytest.raises(RunError, match=r"GPU of this worker does not answer .*#700.* see that"):
        encoder.open()
