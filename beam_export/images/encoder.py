"""The `Encoder` protocol, its options, and the forms in which it takes images.

An encoder turns images of any format into JPEG, a batch at a time. Which images are copied instead
is decided in `transcode`, the same for every encoder.

An image may be encoded bytes or an array: NumPy's, or one in the memory of a GPU that speaks the
CUDA array interface (CuPy's arrays, torch's CUDA tensors, Numba's and JAX's). Nothing of those
libraries is imported.

Source: CUDA Array Interface, version 3 (numba.readthedocs.io, "CUDA Array Interface").
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol, TypeGuard

import numpy as np

from beam_export.errors import SampleError
from beam_export.samples import DeviceArray, EncodedImage

__all__ = [
    "EncodeSpec",
    "Encoder",
    "ImageInput",
    "Result",
    "array_fault",
    "array_shape",
    "is_array",
    "is_on_device",
    "nbytes",
]

#: An image to be encoded: bytes, or uint8 pixels of shape (H, W[, 1 | 3 | 4]).
ImageInput = bytes | np.ndarray | DeviceArray

#: The outcome of one image; a failure is a value, so that a bad image never fails its batch.
Result = EncodedImage | SampleError


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodeSpec:
    """Options of an encoder: all that shapes the bytes it makes, and nothing else.

    Attributes:
        mode: `auto` copies a JPEG that needs no change, `always` encodes everything, `never`
            copies everything.
        quality: 1 to 100, libjpeg's scale.
        subsampling: `420`, `422` or `444`.
        resize: target in pixels, or None.
        resize_mode: `no`, `keep_ratio`, `keep_ratio_largest`, `center_crop` or `border`.
        max_pixels: larger images are failures, judged by the header before any decoding.
        max_image_bytes: images of more encoded bytes are failures too.
        damaged: `fail` or `keep` JPEGs that decode with loss of data.
        ensure: what every image is to be, of `images.uniform.WORDS`.
    """

    mode: str = "auto"
    quality: int = 92
    subsampling: str = "420"
    resize: int | None = None
    resize_mode: str = "keep_ratio"
    max_pixels: int = 250_000_000
    max_image_bytes: int = 268_435_456
    damaged: str = "fail"
    ensure: tuple[str, ...] = ()

    @property
    def resizes(self) -> bool:
        """Whether images change their size."""
        return self.resize is not None and self.resize_mode != "no"


class Encoder(Protocol):
    """Turns images into JPEG. Created where the pipeline is built, used on the workers.

    An encoder pickles as its options alone; `open` makes what does not pickle (thread pools,
    device handles), once per process, and `close` frees it.
    """

    spec: EncodeSpec

    def open(self) -> None:
        """Makes ready to encode; a second call does nothing."""

    def close(self) -> None:
        """Frees what `open` made."""

    def encode_batch(self, images: Sequence[ImageInput]) -> list[Result]:
        """Encodes images, each on its own: as many results as images, in their order.

        Never raises for an image. Raises for faults of the machine (out of memory, a lost device),
        so that the runner tries the shard on another one.
        """

    def identity(self) -> dict[str, str]:
        """Returns what shapes the bytes beside the options: encoder, device, codec versions."""

    def take_counts(self) -> dict[str, int]:
        """Returns the number of images since the last call, by the way they were encoded."""


def is_on_device(value: object) -> TypeGuard[DeviceArray]:
    """Returns whether a value is an array in the memory of a GPU."""
    # A torch tensor on the host has the attribute too, and raises when it is read.
    return not isinstance(value, (bytes, np.ndarray)) and hasattr(value, "__cuda_array_interface__")


def is_array(value: object) -> TypeGuard[np.ndarray | DeviceArray]:
    """Returns whether a value is an array, of NumPy or of a GPU."""
    return isinstance(value, np.ndarray) or is_on_device(value)


def array_shape(pixels: np.ndarray | DeviceArray) -> tuple[int, ...]:
    """Returns an array's shape."""
    if isinstance(pixels, np.ndarray):
        return pixels.shape
    return tuple(int(side) for side in pixels.__cuda_array_interface__["shape"])


def nbytes(pixels: np.ndarray | DeviceArray) -> int:
    """Returns the bytes of an array's elements."""
    if isinstance(pixels, np.ndarray):
        return pixels.nbytes
    itemsize: int = np.dtype(pixels.__cuda_array_interface__["typestr"]).itemsize
    return math.prod(array_shape(pixels)) * itemsize


def array_fault(pixels: np.ndarray | DeviceArray) -> str | None:
    """Returns why an array is no image, as a sentence; None if it is one."""
    if isinstance(pixels, np.ndarray):
        dtype = pixels.dtype
    else:
        dtype = np.dtype(pixels.__cuda_array_interface__["typestr"])
    shape = array_shape(pixels)
    known = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if dtype == np.uint8 and known and 0 not in shape:
        return None
    return (
        f"the image is an array of dtype {dtype} and shape {shape}; it must be uint8 "
        "of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), with a pixel at least"
    )
