"""Pixels that are at hand: NumPy's arrays, and arrays in the memory of a GPU.

The second kind is whatever speaks the CUDA array interface: CuPy's arrays, torch's CUDA tensors,
Numba's and JAX's. Nothing of those libraries is imported here.

Source: CUDA Array Interface, version 3 (numba.readthedocs.io, "CUDA Array Interface").
"""

from __future__ import annotations

import math
from typing import TypeGuard

import numpy as np

from beam_export.samples import DeviceArray

__all__ = ["array_fault", "array_shape", "is_array", "is_on_device", "nbytes"]


def is_on_device(value: object) -> TypeGuard[DeviceArray]:
    """Tells if it is an array in the memory of a GPU."""
    # A torch tensor on the host has the attribute too, and raises when it is asked for.
    return not isinstance(value, (bytes, np.ndarray)) and hasattr(value, "__cuda_array_interface__")


def is_array(value: object) -> TypeGuard[np.ndarray | DeviceArray]:
    """Tells if it is an array of either kind."""
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
    """Returns what is wrong with an array that is to be an image; None if nothing is."""
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
