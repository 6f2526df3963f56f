"""Decodes and encodes a batch with one set of nvImageCodec's decoders, its encoder and pipelines.

An engine is for one thread at a time: a decoder or encoder that two threads use at once crashes
or hangs the process (seen with nvImageCodec 0.9). `engine_pool` takes care of that. On a GPU all
its work is on a stream of its own, so that engines do not wait for each other.
"""

from __future__ import annotations

import collections
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from beam_export.images.dali.cuda import EngineStream, Uploads
from beam_export.images.dali.graph import graph_kind
from beam_export.images.dali.libraries import Libraries
from beam_export.images.dali.pipelines import Pipelines
from beam_export.images.dali.routing import DaliImage
from beam_export.images.encoder import EncodeSpec, is_on_device

__all__ = ["DaliEngine", "plain_jpeg", "to_host"]

#: Colour and layout to decode to, by channels; the default is colour without alpha.
_FORMATS = {
    1: ("GRAY", "I_AUTO_COMPONENTS"),
    3: ("SRGB", "I_AUTO_COMPONENTS"),
    4: ("SRGB", "I_RGBA"),
}


class DaliEngine:
    """Decodes, changes and encodes batches.

    Args:
        spec: options.
        libraries: of the device.
        threads: CPU threads of its codecs and pipelines.
        most: most images of a batch.
        most_pixels: most pixels that its pipelines keep memory for.

    Raises:
        RuntimeError: if the device does not answer.
    """

    def __init__(
        self, spec: EncodeSpec, libraries: Libraries, *, threads: int, most: int, most_pixels: int
    ) -> None:
        self._spec, self._libraries, self._codec = spec, libraries, libraries.codec
        self._stream = 0
        if libraries.driver is not None:
            self._own_stream = EngineStream(libraries.driver)
            self._stream = self._own_stream.address
            self._uploads = Uploads(libraries.driver, self._stream)
        self._pipelines = Pipelines(
            libraries, stream=self._stream, threads=threads, most=most, most_pixels=most_pixels
        )
        self._decoders = {"jpg": self._decoder(threads, on_host=not libraries.on_gpu)}
        # Other formats are decoded on the host, and all of a batch are moved to the device at once.
        self._decoders["other"] = (
            self._decoder(threads, on_host=True) if libraries.on_gpu else self._decoders["jpg"]
        )
        self._encoder = self._codec.Encoder(
            device_id=self._place(on_host=not libraries.on_gpu),
            max_num_cpu_threads=threads,
            backends=self._backends(on_host=not libraries.on_gpu),
        )
        self._params = {channels: self._encode_params(channels) for channels in (1, 3)}

    def _place(self, on_host: bool) -> int:
        device_id = self._libraries.device_id
        if on_host or device_id is None:
            return self._codec.NVIMGCODEC_DEVICE_CPU_ONLY
        return device_id

    def _backends(self, on_host: bool) -> list[Any]:
        """Returns the backends that may be used: one kind of hardware, so that bytes are the same.

        nvJPEG's encoder counts as a hybrid. Left out are the hardware decoder, which takes a share
        of a batch and rounds differently from the CUDA one, and a JPEG decoder on the host, which
        would silently replace a device that fails.
        """
        codec = self._codec
        if on_host:
            return [codec.Backend(codec.CPU_ONLY)]
        return [codec.Backend(codec.GPU_ONLY), codec.Backend(codec.HYBRID_CPU_GPU)]

    def _decoder(self, threads: int, on_host: bool) -> Any:
        return self._codec.Decoder(
            device_id=self._place(on_host),
            max_num_cpu_threads=threads,
            backends=self._backends(on_host),
            # Interpolates chroma as libjpeg does.
            options=":fancy_upsampling=1",
        )

    def _encode_params(self, channels: int) -> Any:
        codec = self._codec
        subsampling = "GRAY" if channels == 1 else self._spec.subsampling
        return codec.EncodeParams(
            quality_type=codec.QualityType.QUALITY,
            quality_value=self._spec.quality,
            chroma_subsampling=getattr(codec, f"CSS_{subsampling}"),
            jpeg_encode_params=codec.JpegEncodeParams(progressive=False, optimized_huffman=False),
        )

    def encode(self, jobs: Sequence[DaliImage]) -> list[bytes | None]:
        """Returns a JPEG for each job; None for a file whose pixels cannot be decoded.

        Raises:
            RuntimeError: if the device, and not an image, is at fault.
        """
        pixels = self._decode(jobs)
        results: list[bytes | None] = [None] * len(jobs)
        groups = collections.defaultdict(list)
        for at, (job, one) in enumerate(zip(jobs, pixels, strict=True)):
            if one is not None:
                groups[None if job.is_plain else graph_kind(job)].append(at)
        for kind, places in groups.items():
            made = [pixels[at] for at in places]
            chosen = [jobs[at] for at in places]
            if kind is not None:
                made = self._pipelines.run(kind, chosen, [self._fed(one) for one in made])
            for at, data in zip(places, self._compress(chosen, made), strict=True):
                results[at] = data
        return results

    def _fed(self, pixels: Any) -> Any:
        """Returns pixels in the form that a pipeline takes: on the host, DALI needs an array."""
        return pixels if self._libraries.on_gpu else np.asarray(pixels)

    def _decode(self, jobs: Sequence[DaliImage]) -> list[Any]:
        """Returns pixels of shape (H, W, C) on the device, None where a file has none."""
        pixels: list[Any] = [None] * len(jobs)
        groups = collections.defaultdict(list)
        for at, job in enumerate(jobs):
            if job.ext:
                groups["jpg" if job.ext == "jpg" else "other", job.channels].append(at)
            else:
                pixels[at] = _DeviceView(job) if is_on_device(job.data) else job.data
        for (decoder, channels), places in groups.items():
            made = self._read(decoder, [jobs[at].data for at in places], channels)
            for at, one in zip(places, made, strict=True):
                job = jobs[at]
                one = self._read_again(job) if one is None else one
                fits = one is not None and one.shape == (job.height, job.width, job.channels)
                pixels[at] = one if fits else None
        return self._uploaded(pixels) if self._libraries.on_gpu else pixels

    def _uploaded(self, pixels: list[Any]) -> list[Any]:
        """Returns the pixels with those of the host on the device.

        Raises:
            RuntimeError: if the device has no room for them.
        """
        places = [at for at, one in enumerate(pixels) if isinstance(one, np.ndarray)]
        for at, one in zip(places, self._uploads.put([pixels[at] for at in places]), strict=True):
            pixels[at] = one
        return pixels

    def _read(self, decoder: str, files: Sequence[bytes], channels: int) -> list[Any]:
        """Returns the files' pixels; None for what cannot be decoded.

        They are images where the engine is; what the host has decoded for a GPU are arrays.
        """
        sources = [self._codec.CodeStream(data) for data in files]
        on_device = self._libraries.on_gpu and decoder == "jpg"
        made = self._decoders[decoder].decode(
            sources,
            params=self._decode_params(channels),
            cuda_stream=self._stream if on_device else 0,
        )
        if on_device or not self._libraries.on_gpu:
            return list(made)
        return [None if one is None else np.asarray(one) for one in made]

    def _decode_params(self, channels: int) -> Any:
        color, layout = _FORMATS[channels]
        return self._codec.DecodeParams(
            # The pipelines apply it, as read for Pillow's encoder.
            apply_exif_orientation=False,
            color_spec=getattr(self._codec.ColorSpec, color),
            sample_format=getattr(self._codec.SampleFormat, layout),
        )

    def _read_again(self, job: DaliImage) -> Any | None:
        """Returns pixels of a file at a second try; None for a bad file.

        A device that is full or lost also gives None, so a plain image is decoded as a test.

        Raises:
            RuntimeError: if the device does not even decode a plain image of the same size.
        """
        decoder = "jpg" if job.ext == "jpg" else "other"
        (pixels,) = self._read(decoder, [job.data], job.channels)
        if pixels is not None:
            return pixels
        channels = min(job.channels, 3)
        (shown,) = self._read("jpg", [plain_jpeg(job.width, job.height, channels)], channels)
        if shown is None:
            raise RuntimeError(f"it cannot decode an image of {job.width} x {job.height} pixels")
        return None

    def _compress(self, jobs: Sequence[DaliImage], pixels: Sequence[Any]) -> list[bytes]:
        """Returns pixels of shape (H, W, 1 | 3) as JPEG."""
        results: list[bytes | None] = [None] * len(jobs)
        for channels, params in self._params.items():
            places = [at for at, job in enumerate(jobs) if min(job.channels, 3) == channels]
            if not places:
                continue
            chosen = [pixels[at] for at in places]
            made = self._encoder.encode(chosen, "jpeg", params=params, cuda_stream=self._stream)
            for at, stream in zip(places, made, strict=True):
                results[at] = None if stream is None else bytes(stream)
        for job, data in zip(jobs, results, strict=True):
            if data is None:
                raise RuntimeError("it cannot encode an image of {} x {} pixels".format(*job.size))
        return [data for data in results if data is not None]


class _DeviceView:
    """An array in the memory of a GPU, as pixels of shape (H, W, C); it keeps the array alive."""

    def __init__(self, job: DaliImage) -> None:
        self._array = _contiguous(job.data)
        self.shape = (job.height, job.width, job.channels)
        interface = dict(self._array.__cuda_array_interface__)
        self.__cuda_array_interface__ = {**interface, "shape": self.shape, "strides": None}


def to_host(pixels: Any) -> np.ndarray:
    """Returns a copy of a GPU's array in the host's memory."""
    from nvidia import nvimgcodec

    return np.asarray(nvimgcodec.as_image(_contiguous(pixels)).cpu())


def _contiguous(pixels: Any) -> Any:
    """Returns a GPU's array as contiguous memory; torch, say, gives transposed views of CHW."""
    interface = pixels.__cuda_array_interface__
    strides = interface.get("strides")
    shape = interface["shape"]
    dense = np.cumprod((1, *shape[:0:-1]))[::-1] * np.dtype(interface["typestr"]).itemsize
    if strides is None or tuple(strides) == tuple(int(step) for step in dense):
        return pixels
    return pixels.contiguous() if hasattr(pixels, "contiguous") else pixels.copy()


def plain_jpeg(width: int, height: int, channels: int) -> bytes:
    """Returns a plain gray JPEG, which any decoder takes."""
    buffer = io.BytesIO()
    Image.new("L" if channels == 1 else "RGB", (width, height), "gray").save(buffer, "JPEG")
    return buffer.getvalue()
