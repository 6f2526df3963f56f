"""The few calls that are made of CUDA: streams, memory, and copies to the device.

They are made through the driver's own library, since NVIDIA's wheels bring no other that could be
called. The context is the device's primary one, which nvImageCodec and DALI use too.

Source: CUDA driver API, parts 6.7 (primary context), 6.13 (memory), 6.15 (stream ordered memory)
and 6.18 (streams).
"""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["CudaDriver", "Driver", "EngineStream", "Uploads"]

#: `CU_MEMPOOL_ATTR_RELEASE_THRESHOLD`.
_RELEASE_THRESHOLD = 4
#: Bytes to which the addresses of images are rounded up, as CUDA's own allocations are.
_ALIGNED = 256


class Driver(Protocol):
    """Calls of CUDA for one device; `CudaDriver` makes them.

    Each raises RuntimeError if the device refuses, but for those that free something. Streams are
    never freed: see `EngineStream`.
    """

    def memory(self) -> tuple[int, int]:
        """Returns the bytes that are free on the device, and all of them."""

    def keep_freed(self, most: int) -> None:
        """Has the device's pool keep freed memory for what comes next, `most` bytes of it."""

    def new_stream(self) -> int:
        """Returns a stream, as the address that other libraries take."""

    def allocate(self, size: int, stream: int) -> int:
        """Returns the address of memory of the device, to be used in the stream's order."""

    def free(self, address: int, stream: int) -> None:
        """Frees memory in the stream's order."""

    def host_memory(self, size: int) -> np.ndarray:
        """Returns bytes of the host from which the device can copy by itself."""

    def free_host_memory(self, memory: np.ndarray) -> None:
        """Frees what `host_memory` returned."""

    def copy_to_device(self, address: int, source: np.ndarray, stream: int) -> None:
        """Copies bytes of `host_memory` in the stream's order, without waiting for the end."""


class CudaDriver:
    """Calls of one device, made through the driver's library.

    Args:
        device_id: number of the GPU.

    Raises:
        RuntimeError: if the device does not answer.
    """

    def __init__(self, device_id: int) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(self._device), device_id)
        # Kept as long as the process lives: other libraries hold on to it too.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise RuntimeError(f"{name} failed with CUDA error {code}")

    def _in_context(self, name: str, *arguments: Any) -> None:
        # Each thread has a current context of its own.
        self._call("cuCtxSetCurrent", self._context)
        self._call(name, *arguments)

    def memory(self) -> tuple[int, int]:
        """Returns the bytes that are free on the device, and all of them."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._in_context("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def keep_freed(self, most: int) -> None:
        """Has the device's pool keep freed memory: by default it gives all back at each wait."""
        pool, limit = ctypes.c_void_p(), ctypes.c_uint64(most)
        self._call("cuDeviceGetDefaultMemPool", ctypes.byref(pool), self._device)
        self._call("cuMemPoolSetAttribute", pool, _RELEASE_THRESHOLD, ctypes.byref(limit))

    def new_stream(self) -> int:
        """Returns a stream that waits for stream 0, on which torch and CuPy make their arrays."""
        stream = ctypes.c_void_p()
        self._in_context("cuStreamCreate", ctypes.byref(stream), 0)
        return int(stream.value or 0)

    def allocate(self, size: int, stream: int) -> int:
        """Returns the address of memory of the device's pool."""
        address = ctypes.c_uint64()
        self._in_context(
            "cuMemAllocAsync", ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_void_p(stream)
        )
        return address.value

    def free(self, address: int, stream: int) -> None:
        """Gives memory back to the device's pool."""
        with contextlib.suppress(RuntimeError):
            self._in_context("cuMemFreeAsync", ctypes.c_uint64(address), ctypes.c_void_p(stream))

    def host_memory(self, size: int) -> np.ndarray:
        """Returns bytes that stay in their place in the host's memory."""
        address = ctypes.c_void_p()
        self._in_context("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), 0)
        held = (ctypes.c_uint8 * size).from_address(int(address.value or 0))
        return np.ctypeslib.as_array(held)

    def free_host_memory(self, memory: np.ndarray) -> None:
        """Frees what `host_memory` returned."""
        with contextlib.suppress(RuntimeError):
            self._in_context("cuMemFreeHost", ctypes.c_void_p(memory.ctypes.data))

    def copy_to_device(self, address: int, source: np.ndarray, stream: int) -> None:
        """Copies bytes; the host does not wait."""
        self._in_context(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(address),
            ctypes.c_void_p(source.ctypes.data),
            ctypes.c_size_t(source.nbytes),
            ctypes.c_void_p(stream),
        )


class EngineStream:
    """A stream of a device, for one engine, and after it for another one.

    It is not freed with its engine. After a fault, images of the engine may live on in the frames
    of a traceback; they are freed in the order of their stream, which must exist then.

    Attributes:
        address: as other libraries take it.
    """

    def __init__(self, driver: Driver) -> None:
        spare = _spare.setdefault(driver, [])
        try:
            self.address = spare.pop()
        except IndexError:
            self.address = driver.new_stream()
        weakref.finalize(self, spare.append, self.address)


#: Streams without an engine.
_spare: weakref.WeakKeyDictionary[Driver, list[int]] = weakref.WeakKeyDictionary()


class _Uploaded:
    """Pixels of shape (H, W, C) in the device's memory, until the next `Uploads.put`.

    Source: CUDA Array Interface, version 3 (numba.readthedocs.io, "CUDA Array Interface").
    """

    def __init__(self, address: int, shape: tuple[int, ...], stream: int) -> None:
        self.shape = shape
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": "|u1",
            "strides": None,
            "data": (address, False),
            "stream": stream,
        }


class Uploads:
    """Moves the pixels of a batch to the device in one copy, through memory that is kept.

    Args:
        driver: of the device.
        stream: in whose order the pixels are copied and used.
    """

    def __init__(self, driver: Driver, stream: int) -> None:
        self._driver, self._stream = driver, stream
        self._host = np.empty(0, np.uint8)
        self._address = 0
        self._free: Callable[[], object] = lambda: None

    def put(self, arrays: Sequence[np.ndarray]) -> list[_Uploaded]:
        """Returns the arrays as they lie on the device. Those of the last call are lost.

        Args:
            arrays: uint8 pixels of shape (H, W, C). What the last call has copied must have been
                used: the host does not wait here.

        Raises:
            RuntimeError: if the device has no room.
        """
        places = list(_places(arrays))
        size = places[-1] + arrays[-1].nbytes if places else 0
        if size > len(self._host):
            self._grow(size)
        for at, array in zip(places, arrays, strict=True):
            self._host[at : at + array.nbytes] = array.reshape(-1)
        if size:
            self._driver.copy_to_device(self._address, self._host[:size], self._stream)
        return [
            _Uploaded(self._address + at, array.shape, self._stream)
            for at, array in zip(places, arrays, strict=True)
        ]

    def _grow(self, size: int) -> None:
        self._free()
        self._host, self._address = np.empty(0, np.uint8), 0
        host = self._driver.host_memory(size)
        try:
            self._address = self._driver.allocate(size, self._stream)
        except BaseException:
            self._driver.free_host_memory(host)
            raise
        self._host = host
        self._free = weakref.finalize(
            self, _free_both, self._driver, host, self._address, self._stream
        )


def _places(arrays: Sequence[np.ndarray]) -> Iterator[int]:
    """Yields where each array begins."""
    at = 0
    for array in arrays:
        yield at
        at += -(-array.nbytes // _ALIGNED) * _ALIGNED


def _free_both(driver: Driver, host: np.ndarray, address: int, stream: int) -> None:
    driver.free(address, stream)
    driver.free_host_memory(host)
