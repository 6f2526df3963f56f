"""`nvidia.nvimgcodec`, as far as it is used, for a GPU that is made up.

Source: nvImageCodec 0.8, python/decoder.cpp, encoder.cpp and image.cpp: an allocation that fails is
raised for the whole batch, a codec that fails gives None for its image; an image is freed in the
order of its stream; `encode` returns bytes of the host, so it waits.
"""

from __future__ import annotations

import io
import threading
import time
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image
from support.fake_gpu.device import Block, FakeDevice, alone

__all__ = ["FakeCodec", "FakeImage"]

CPU_DEVICE = -99999
#: Bytes per pixel that a codec of the device takes while it works: coefficients and planes.
_WORK = 12


def _constants(*names: str) -> types.SimpleNamespace:
    return types.SimpleNamespace(**{name: name for name in names})


class FakeImage:
    """Pixels of the device, freed with the last reference."""

    def __init__(self, device: FakeDevice, block: Block, shape: tuple[int, ...]) -> None:
        self._device, self._block, self.shape = device, block, shape

    def __del__(self) -> None:
        self._device.free(self._block, self._block.stream)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": "|u1",
            "strides": None,
            "data": (self._block.address, False),
            "stream": self._block.stream,
        }

    def cpu(self) -> np.ndarray:
        """Returns a copy in the host's memory, which waits for the image's stream."""
        self._device.wait(self._block.stream)
        return self._device.view(self._block.address, self.shape, self._block.stream).copy()


class _Source:
    def __init__(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError("a source is made of bytes")
        self.data = data


class _Decoder:
    """Decodes on the device what is JPEG, half of a file that is cut too; the rest on the host."""

    def __init__(
        self,
        device: FakeDevice,
        *,
        device_id: int,
        max_num_cpu_threads: int,
        backends: Sequence[str],
        options: str,
    ) -> None:
        assert max_num_cpu_threads >= 1
        assert "fancy_upsampling=1" in options
        self._device, self._lock = device, threading.Lock()
        self._on_host = device_id == CPU_DEVICE
        # Without a device, any other backend gives None for every image.
        assert list(backends) == (["CPU_ONLY"] if self._on_host else ["GPU_ONLY", "HYBRID_CPU_GPU"])
        if not self._on_host:
            device.check()
            if device.faults.strikes("no-engine"):
                raise RuntimeError("nvImageCodec failure: '#8'")

    def decode(self, sources: Sequence[_Source], *, params: Any, cuda_stream: int = 0) -> list[Any]:
        with alone(self._device, self._lock, "decoder"):
            if self._on_host:
                return [_pixels(source.data, params, False) for source in sources]
            return self._on_device(sources, params, cuda_stream)

    def _on_device(self, sources: Sequence[_Source], params: Any, stream: int) -> list[Any]:
        faults = self._device.faults
        if faults.strikes("decode-raises"):
            raise RuntimeError("nvImageCodec failure: '#7'")
        time.sleep(0)
        made: list[Any] = []
        for source in sources:
            pixels = _pixels(source.data, params, True)
            # A good file is not twice among those that fail by chance.
            fails = source.data not in self._device.undecoded and faults.strikes("decode-none")
            if pixels is None or fails:
                self._device.undecoded.add(source.data)
                made.append(None)
                continue
            # Of an allocation that fails, the whole batch hears.
            block = self._device.allocate(pixels.nbytes, stream)
            block.data[:] = pixels.reshape(-1)
            made.append(FakeImage(self._device, block, pixels.shape))
        most = sum(int(np.prod(image.shape[:2])) for image in made if image is not None)
        with self._device.workspace(_WORK * most, stream):
            pass
        return made


def _pixels(data: bytes, params: Any, half: bool) -> np.ndarray | None:
    """Returns the pixels of a file as asked for; None if it cannot be decoded."""
    mode = {"GRAY": "L", "SRGB": "RGB"}[params.color_spec]
    if params.sample_format == "I_RGBA":
        mode = "RGBA"
    try:
        if half and data[:2] == b"\xff\xd8":
            # What is missing at the end is gray, and nothing is said of it.
            return simplejpeg.decode_jpeg(data, "GRAY" if mode == "L" else "RGB", strict=False)
        with Image.open(io.BytesIO(data)) as im:
            return np.atleast_3d(np.asarray(im.convert(mode)))
    except (ValueError, OSError, SyntaxError):
        return None


class _Encoder:
    def __init__(
        self,
        device: FakeDevice,
        *,
        device_id: int,
        max_num_cpu_threads: int,
        backends: Sequence[str],
    ) -> None:
        assert device_id >= 0
        assert max_num_cpu_threads >= 1
        # nvJPEG's encoder counts as a hybrid: alone, GPU_ONLY gives None for every image.
        assert "HYBRID_CPU_GPU" in backends
        assert "CPU_ONLY" not in backends
        self._device, self._lock = device, threading.Lock()
        device.check()

    def encode(
        self, images: Sequence[Any], codec: str, *, params: Any, cuda_stream: int = 0
    ) -> list[Any]:
        assert codec == "jpeg"
        with alone(self._device, self._lock, "encoder"):
            faults = self._device.faults
            self._device.check()
            if faults.strikes("encode-raises"):
                raise RuntimeError("nvImageCodec failure: '#7'")
            found = [self._pixels(image, cuda_stream) for image in images]
            most = sum(int(np.prod(pixels.shape[:2])) for pixels in found)
            with self._device.workspace(_WORK * most, cuda_stream):
                time.sleep(0)
                made = [
                    None
                    if faults.strikes("encode-none")
                    else _Stream(pixels, params, b"made on a device" if self._device.signs else b"")
                    for pixels in found
                ]
            self._device.wait(cuda_stream)
            return made

    def _pixels(self, image: Any, stream: int) -> np.ndarray:
        interface = image.__cuda_array_interface__
        shape = tuple(interface["shape"])
        assert len(shape) == 3
        assert shape[2] in (1, 3), "nvJPEG's encoder takes no alpha"
        # An image brings the stream that it was written on, and the encoder waits for that.
        stream = interface.get("stream") or stream
        return self._device.view(interface["data"][0], shape, stream)


class _Stream:
    """A JPEG that was made."""

    def __init__(self, pixels: np.ndarray, params: Any, comment: bytes) -> None:
        gray = pixels.shape[2] == 1
        assert (params.chroma_subsampling == "CSS_GRAY") is gray
        im = Image.fromarray(pixels[:, :, 0] if gray else pixels)
        subsampling = "4:4:4" if gray else ":".join(params.chroma_subsampling[-3:])
        buffer = io.BytesIO()
        quality = params.quality_value
        im.save(buffer, "JPEG", quality=quality, subsampling=subsampling, comment=comment)
        self._data = buffer.getvalue()

    def __bytes__(self) -> bytes:
        return self._data


class FakeCodec:
    """The module, for one device."""

    CPU_ONLY, GPU_ONLY, HYBRID_CPU_GPU = "CPU_ONLY", "GPU_ONLY", "HYBRID_CPU_GPU"
    NVIMGCODEC_DEVICE_CPU_ONLY = CPU_DEVICE
    CSS_GRAY, CSS_420, CSS_422, CSS_444 = "CSS_GRAY", "CSS_420", "CSS_422", "CSS_444"
    ColorSpec = _constants("GRAY", "SRGB")
    SampleFormat = _constants("I_AUTO_COMPONENTS", "I_RGBA")
    QualityType = _constants("QUALITY")
    Backend = staticmethod(str)
    CodeStream = staticmethod(_Source)
    DecodeParams = staticmethod(types.SimpleNamespace)
    EncodeParams = staticmethod(types.SimpleNamespace)
    JpegEncodeParams = staticmethod(types.SimpleNamespace)

    def __init__(self, device: FakeDevice) -> None:
        self._device = device

    def Decoder(self, **options: Any) -> _Decoder:  # noqa: N802 (nvImageCodec's own name)
        return _Decoder(self._device, **options)

    def Encoder(self, **options: Any) -> _Encoder:  # noqa: N802 (nvImageCodec's own name)
        return _Encoder(self._device, **options)
