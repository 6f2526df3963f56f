"""Decodes and encodes a batch with one set of nvImageCodec's decoders, its encoder and pipelines.

An engine is for one thread at a time: a decoder or encoder that two threads use at once crashes
or hangs the process (seen with nvImageCodec 0.9). `engine_pool` takes care of that.
"""

from __future__ import annotations

import collections
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from beam_export.images.dali.graph import Pipelines, kind_of
from beam_export.images.dali.routing import Job
from beam_export.images.encoder import EncodeSpec

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
        device_id: number of the GPU; None for the CPU.
        threads: CPU threads of its codecs and pipelines.
        most: most images of a batch.

    Raises:
        RuntimeError: if the device does not answer.
    """

    def __init__(self, spec: EncodeSpec, device_id: int | None, threads: int, most: int) -> None:
        # Else there is a line on stderr per bad image. Read when the library is loaded.
        os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
        from nvidia import nvimgcodec

        self._codec: Any = nvimgcodec
        self._device_id, self._spec = device_id, spec
        self._pipelines = Pipelines(device_id, threads, most)
        self._decoders = {"jpg": self._decoder(threads, on_host=device_id is None)}
        # Other formats are decoded on the host, and their pixels moved to the device.
        self._decoders["other"] = (
            self._decoders["jpg"] if device_id is None else self._decoder(threads, on_host=True)
        )
        self._encoder = nvimgcodec.Encoder(
            device_id=self._place,
            max_num_cpu_threads=threads,
            backends=self._backends(on_host=device_id is None),
        )
        self._params = {channels: self._encode_params(channels) for channels in (1, 3)}

    @property
    def _place(self) -> int:
        if self._device_id is None:
            return int(self._codec.NVIMGCODEC_DEVICE_CPU_ONLY)
        return self._device_id

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
            device_id=self._place,
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

    def encode(self, jobs: Sequence[Job]) -> list[bytes | None]:
        """Returns a JPEG for each job; None for a file whose pixels cannot be decoded.

        Raises:
            RuntimeError: if the device, and not an image, is at fault.
        """
        pixels = self._decode(jobs)
        results: list[bytes | None] = [None] * len(jobs)
        groups = collections.defaultdict(list)
        for at, (job, one) in enumerate(zip(jobs, pixels, strict=True)):
            if one is not None:
                groups[None if job.is_plain else kind_of(job)].append(at)
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
        return np.asarray(pixels) if self._device_id is None else pixels

    def _decode(self, jobs: Sequence[Job]) -> list[Any]:
        """Returns pixels of shape (H, W, C) on the device, None where a file has none."""
        pixels: list[Any] = [None] * len(jobs)
        groups = collections.defaultdict(list)
        for at, job in enumerate(jobs):
            if job.ext:
                groups["jpg" if job.ext == "jpg" else "other", job.channels].append(at)
            else:
                pixels[at] = self._wrap(job)
        for (decoder, channels), places in groups.items():
            made = self._read(decoder, [jobs[at].data for at in places], channels)
            for at, one in zip(places, made, strict=True):
                job = jobs[at]
                one = self._read_again(job) if one is None else one
                fits = one is not None and one.shape == (job.height, job.width, job.channels)
                pixels[at] = one if fits else None
        return pixels

    def _read(self, decoder: str, files: Sequence[bytes], channels: int) -> list[Any]:
        """Returns the files' pixels, in the device's memory; None for what cannot be decoded."""
        streams = [self._codec.CodeStream(data) for data in files]
        made = self._decoders[decoder].decode(streams, params=self._decode_params(channels))
        if self._device_id is None or decoder == "jpg":
            return list(made)
        return [None if one is None else one.cuda() for one in made]

    def _decode_params(self, channels: int) -> Any:
        color, layout = _FORMATS[channels]
        return self._codec.DecodeParams(
            # The pipelines apply it, as read for Pillow's encoder.
            apply_exif_orientation=False,
            color_spec=getattr(self._codec.ColorSpec, color),
            sample_format=getattr(self._codec.SampleFormat, layout),
        )

    def _read_again(self, job: Job) -> Any | None:
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

    def _wrap(self, job: Job) -> Any:
        """Returns an array's pixels on the device, without a copy if they are there.

        Raises:
            RuntimeError: if the device has no room for them.
        """
        if self._device_id is None:
            return job.data
        if not isinstance(job.data, np.ndarray):
            return self._codec.as_image(_contiguous(job.data))
        pixels = self._codec.as_image(job.data).cuda()
        if pixels is None:
            raise RuntimeError(f"it has no room for {job.width} x {job.height} pixels")
        return pixels

    def _compress(self, jobs: Sequence[Job], pixels: Sequence[Any]) -> list[bytes]:
        """Returns pixels of shape (H, W, 1 | 3) as JPEG."""
        results: list[bytes | None] = [None] * len(jobs)
        for channels, params in self._params.items():
            places = [at for at, job in enumerate(jobs) if min(job.channels, 3) == channels]
            if not places:
                continue
            made = self._encoder.encode([pixels[at] for at in places], "jpeg", params=params)
            for at, stream in zip(places, made, strict=True):
                results[at] = None if stream is None else bytes(stream)
        for job, data in zip(jobs, results, strict=True):
            if data is None:
                raise RuntimeError("it cannot encode an image of {} x {} pixels".format(*job.size))
        return [data for data in results if data is not None]


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
