"""A machine with a GPU that is made up, and images that say which one they are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.fake_gpu.codec import FakeCodec
from support.fake_gpu.device import FakeDevice, FakeDriver
from support.fake_gpu.pipelines import FakePipe
from support.pictures import exif, save

from beam_export.errors import SampleError
from beam_export.images.dali.graph import Kind
from beam_export.images.dali.libraries import Libraries
from beam_export.images.encoder import ImageInput, Result
from beam_export.samples import EncodedImage

__all__ = ["MODULE", "account", "bad_image", "libraries", "number_of", "numbered", "use"]

#: Where the encoder finds what tests replace.
MODULE = "beam_export.images.dali.encoder"
#: Blocks of a number's bits: each as large as a unit of subsampled JPEG.
_BITS, _BLOCK = 5, 16
_KINDS = 12


def libraries(device: FakeDevice, number: int = 0) -> Libraries:
    """Returns what the engines call, for one process on a GPU of a number."""

    def build(kind: Kind, *, device_id: int, threads: int, most: int) -> FakePipe:
        assert device_id == number
        return FakePipe(device, kind, most=most, threads=threads)

    return Libraries(number, FakeCodec(device), build, FakeDriver(device))  # type: ignore[arg-type]


def use(monkeypatch: pytest.MonkeyPatch, device: FakeDevice) -> None:
    """Has `DaliEncoder` find the GPU on this machine."""
    monkeypatch.setattr(f"{MODULE}.load_libraries", lambda _: libraries(device))
    monkeypatch.setattr(f"{MODULE}.gpu_names", lambda: ("NVIDIA Fake 9",))
    for name in ("dali_is_installed", "codec_is_installed"):
        monkeypatch.setattr(f"{MODULE}.{name}", lambda: True)
    # A device that is lost is looked at again after some seconds.
    monkeypatch.setattr("beam_export.images.dali.engine_pool._PAUSES", (0.0, 0.0, 1e-6, 1e-6))


def numbered(number: int) -> ImageInput:
    """Returns an image that shows a number in black and white, in one of many forms."""
    kind = number % _KINDS
    pixels = _drawn(number)
    im = Image.fromarray(pixels).convert("L" if kind in (1, 8) else "RGB")
    if kind == 0:
        return save(im, "JPEG", quality=90)
    if kind == 1:
        return save(im, "JPEG", quality=85)
    if kind == 2:
        return save(im, "JPEG", progressive=True)
    if kind in (3, 4):
        turned = im.transpose(_STORED[6 if kind == 3 else 3])
        return save(turned, "JPEG", exif=exif(6 if kind == 3 else 3))
    if kind in (5, 8):
        return save(im, "PNG", compress_level=1)
    if kind == 6:
        alpha = Image.new("L", im.size, 255)
        return save(Image.merge("RGBA", [*im.split(), alpha]), "PNG", compress_level=1)
    if kind == 7:
        return save(im, "WEBP", quality=70, method=0)
    if kind == 9:
        return np.stack([pixels] * 3, axis=2)
    if kind == 10:
        return save(im, "GIF")
    return save(im, "JPEG", subsampling="4:4:4", restart_marker_blocks=3)


#: How an upright image is stored for an orientation.
_STORED = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}


def _drawn(number: int) -> np.ndarray:
    """Returns gray pixels of 5 x 4 blocks, one for each bit of the number."""
    bits = [number >> bit & 1 for bit in range(_BITS * 4)]
    blocks = np.array(bits, np.uint8).reshape(4, _BITS) * 255
    return blocks.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)


def number_of(result: EncodedImage) -> int:
    """Returns the number that a result shows, whatever its size."""
    with Image.open(io.BytesIO(result.data)) as im:
        assert im.size == (result.width, result.height)
        small = np.asarray(im.convert("L").resize((_BITS, 4), Image.Resampling.BOX))
    assert (np.abs(small.astype(int) - 127) > 60).all(), "it shows no number"
    return int(sum(int(level > 127) << bit for bit, level in enumerate(small.reshape(-1))))


def bad_image(number: int) -> bytes:
    """Returns an image with one of several faults; of the first two, a device decodes half."""
    whole = save(Image.fromarray(_drawn(number)).convert("RGB"), "JPEG")
    scan = whole.rindex(b"\xff\xda")
    broken = bytearray(save(Image.fromarray(_drawn(number)), "PNG"))
    broken[50] ^= 255
    return [
        whole[: (scan + len(whole)) // 2] + b"\xff\xd9",
        whole[: (scan + len(whole)) // 2],
        b"",
        b"junk %d" % number,
        bytes(broken),
        whole[:40],
    ][number // 50 % 6]


def account(results: Sequence[Result], bad: Any) -> None:
    """Checks that each result is of its own image, and that exactly the bad ones failed."""
    for number, result in enumerate(results):
        if number in bad:
            assert isinstance(result, SampleError), number
            assert result.message
        else:
            assert isinstance(result, EncodedImage), (number, result)
            assert number_of(result) == number
