"""Encodes images with Pillow, on the CPU: the encoder that every machine has.

Each image by itself is decoded to upright 8-bit gray or sRGB (`pillow_decoder`), resized and saved
as JPEG. An error of an image is its failure. Only a lack of memory is raised: it is a fault of the
machine, and another one may have more.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.metadata
import io
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, features
from PIL import __version__ as pillow_version

from beam_export.images import color, header, watch
from beam_export.images.encoder import EncodeSpec, ImageInput, Result, array_fault, is_on_device
from beam_export.images.geometry import plan_resize
from beam_export.images.idle_cores import Cores
from beam_export.images.memory_allocator import keep_freed
from beam_export.images.pillow_decoder import Decoded, decode
from beam_export.images.png_color import OTHER_COLORS
from beam_export.images.resize import planned_resize, resize
from beam_export.images.uniform import RGB, SRGB
from beam_export.samples import EncodedImage

__all__ = ["PillowEncoder"]

_SUBSAMPLINGS = {"444": "4:4:4", "422": "4:2:2", "420": "4:2:0"}
_CODECS = {
    "libjpeg_turbo": "libjpeg_turbo",
    "littlecms2": "littlecms2",
    "zlib": "zlib",
    "webp": "webp",
    "libtiff": "libtiff",
    "avif": "avif",
}
#: Bytes that a thread keeps between images.
_KEPT_BYTES = 1 << 20


class PillowEncoder:
    """Encodes with Pillow. The bytes depend on the spec and Pillow's build, never on `threads`.

    Args:
        spec: options.
        threads: images of a batch that are encoded at the same time.
        cores: cores of all worker processes; only as many threads run as cores are idle. With None
            all threads run.

    Raises:
        ValueError: if an option has a value that JPEG or Pillow does not have.
    """

    def __init__(self, spec: EncodeSpec, threads: int = 1, cores: Cores | None = None) -> None:
        if spec.subsampling not in _SUBSAMPLINGS:
            raise ValueError(f"subsampling is {spec.subsampling!r}; it must be 420, 422 or 444")
        if not 1 <= spec.quality <= 100:
            raise ValueError(f"quality is {spec.quality}; it must be from 1 to 100")
        if spec.resize is not None:
            plan_resize(width=1, height=1, size=spec.resize, mode=spec.resize_mode)
        if threads < 1:
            raise ValueError(f"threads is {threads}; it must be 1 or more")
        self.spec = spec
        self.threads = threads
        self._cores = cores
        self._pool: ThreadPoolExecutor | None = None
        self._scratch = _Scratch()

    def __reduce__(self) -> tuple[type[PillowEncoder], tuple[EncodeSpec, int, Cores | None]]:
        return type(self), (self.spec, self.threads, self._cores)

    def open(self) -> None:
        """Starts the threads; a second call does nothing."""
        header.lift_guards(self.spec.max_pixels)
        header.silence_pillow()
        if self.threads > 1 and self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="encode")

    def close(self) -> None:
        """Ends the threads; `open` starts new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def encode_batch(self, images: Sequence[ImageInput]) -> list[Result]:
        """Encodes images, each on its own: as many results as images, in their order.

        Raises:
            MemoryError: if an image within the limits does not fit into memory.
        """
        keep_freed()
        if self._pool is None or len(images) < 2:
            return [self._encode(image) for image in images]
        if self._cores is None:
            return self._encode_in(self._pool, self.threads, images)
        with self._cores.idle() as idle:
            return self._encode_in(self._pool, min(self.threads, 1 + idle), images)

    def identity(self) -> dict[str, str]:
        """Returns what shapes the bytes: the versions of Pillow and of the codecs in its build."""
        versions = {name: features.version(feature) for name, feature in _CODECS.items()}
        found = {
            "encoder": "pillow",
            "device": "cpu",
            "pillow": pillow_version,
            **{name: version or "none" for name, version in versions.items()},
        }
        if self.spec.resize is not None:
            # Decodes at a fraction of the size; in full, its pixels are those of Pillow's libjpeg.
            found["simplejpeg"] = importlib.metadata.version("simplejpeg")
        return found

    def take_counts(self) -> dict[str, int]:
        """Returns no counts: all images go one way."""
        return {}

    def _encode_in(
        self, pool: ThreadPoolExecutor, threads: int, images: Sequence[ImageInput]
    ) -> list[Result]:
        """Encodes images in `threads` threads, the calling one among them."""
        results: list[Result | None] = [None] * len(images)
        places = iter(range(len(images)))

        def work() -> None:
            # Threads share one iterator: under the GIL each place is given out once.
            for place in places:
                results[place] = self._encode(images[place])

        others = [pool.submit(work) for _ in range(threads - 1)]
        try:
            work()
        finally:
            concurrent.futures.wait(others)
        for other in others:
            other.result()
        return [result for result in results if result is not None]

    def _encode(self, image: ImageInput) -> Result:
        stage = "decode" if isinstance(image, bytes) else "encode"
        try:
            with watch.at_work(), contextlib.ExitStack() as held:
                if isinstance(image, bytes):
                    decoded = decode(image, self.spec, held)
                else:
                    decoded = Decoded(_from_array(image, self.spec))
                stage = "encode"
                plan = planned_resize(decoded.size, self.spec)
                picture, profile, remarks, reduced = decoded
                # Freed first: a large image and its copy would be too much at once.
                del decoded
                picture = resize(picture, plan, reduced)
                size, lacks = picture.size, _lacks(picture, profile, remarks)
                self._write(picture, profile)
                # Likewise: before two copies of its JPEG.
                del picture
                data = self._written()
        except MemoryError:
            raise
        except Exception as error:
            return header.failure(stage, error, image if isinstance(image, bytes) else b"")
        return EncodedImage(data, "jpg", *size, "encoded", remarks, lacks)

    def _write(self, im: Image.Image, profile: bytes | None) -> None:
        """Saves the image as a baseline JPEG without metadata but a profile, if it has one."""
        buffer = self._scratch.file
        buffer.seek(0)
        im.save(
            buffer,
            "JPEG",
            quality=self.spec.quality,
            # For gray, 4:2:0 would only put a factor of 2 into the header where others write 1.
            subsampling=_SUBSAMPLINGS["444" if im.mode == "L" else self.spec.subsampling],
            progressive=False,
            optimize=False,
            icc_profile=profile,
            exif=b"",
            # Else Pillow copies the comment of the source.
            comment=b"",
        )

    def _written(self) -> bytes:
        """Returns the JPEG that was saved last."""
        buffer = self._scratch.file
        size = buffer.tell()
        buffer.seek(0)
        data = buffer.read(size)
        if size > _KEPT_BYTES:
            buffer.truncate(0)
        return data


def _from_array(pixels: object, spec: EncodeSpec) -> Image.Image:
    """Returns an array as an `L` or `RGB` image.

    Raises:
        ValueError: if it is no uint8 array of the shape of an image.
    """
    name = type(pixels).__name__
    if is_on_device(pixels):
        raise ValueError(
            f"the image is a {name} on a GPU, where only --encoder=dali with --device=gpu takes "
            "it; copy it to the host first"
        )
    if not isinstance(pixels, np.ndarray):
        raise ValueError(f"the image is a {name}; it must be bytes or an array")
    fault = array_fault(pixels)
    if fault is not None:
        raise ValueError(fault)
    header.check_pixels(pixels.shape[0] * pixels.shape[1], spec, "encode")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    im = Image.fromarray(np.ascontiguousarray(pixels))
    if im.mode != "RGBA":
        return im.convert("RGB") if RGB in spec.ensure else im
    *colors, alpha = im.split()
    return color.on_white(Image.merge("RGB", colors), alpha)


def _lacks(picture: Image.Image, profile: bytes | None, remarks: Sequence[str]) -> tuple[str, ...]:
    """Returns which of `images.uniform.WORDS` an upright picture is not."""
    srgb = (SRGB,) if profile is not None or OTHER_COLORS in remarks else ()
    return (*srgb, RGB) if picture.mode == "L" else srgb


class _MemoryFile(io.FileIO):
    """A file in memory, closed when its thread ends and no reference is left."""

    def __init__(self) -> None:
        super().__init__(os.memfd_create("jpeg"), "r+")

    def __del__(self) -> None:
        self.close()


class _Scratch(threading.local):
    """A file in memory per thread, to which one image after the other is saved.

    Pillow releases the GIL while it encodes to a file descriptor, and holds it while it encodes to
    a `BytesIO`, with which two threads are no faster than one. The bytes are the same. Bytes of an
    earlier image after the end of a smaller one are never read.
    """

    def __init__(self) -> None:
        self.file: io.FileIO | io.BytesIO = io.BytesIO()
        if hasattr(os, "memfd_create"):
            # The call is not allowed, or no descriptor is left: only speed is lost.
            with contextlib.suppress(OSError):
                self.file = _MemoryFile()
