"""Finds GPUs, and the installed versions of DALI, without loading DALI.

GPUs are counted through the driver's own library: a machine without one answers in microseconds
and prints nothing. CUDA_VISIBLE_DEVICES is obeyed.

Source: CUDA driver API, parts 6.2 (cuInit) and 6.5 (cuDeviceGetCount, cuDeviceGetName,
cuDeviceTotalMem).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
from collections.abc import Mapping

__all__ = [
    "HOW_TO_INSTALL",
    "codec_is_installed",
    "dali_is_installed",
    "gpu_memory",
    "gpu_names",
    "versions",
]

HOW_TO_INSTALL = (
    "pip install 'beam_export[gpu-cu13]' (driver 580 or later) or 'beam_export[gpu]' (CUDA 12)"
)

_NAME_BYTES = 256

#: Distributions by their name in the manifest; one of each is installed.
_DALI = {
    "dali": ("nvidia-dali-cuda130", "nvidia-dali-cuda120"),
    "nvimgcodec": ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12"),
}
_GPU = {"nvjpeg": ("nvidia-nvjpeg", "nvidia-nvjpeg-cu12")}


def dali_is_installed() -> bool:
    """Returns whether DALI and nvImageCodec can be imported."""
    return _can_import("nvidia.dali") and codec_is_installed()


def codec_is_installed() -> bool:
    """Returns whether nvImageCodec can be imported, which suffices where no pixel changes."""
    return _can_import("nvidia.nvimgcodec")


def _can_import(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        # There is no package of NVIDIA's at all.
        return False


def gpu_names() -> tuple[str, ...]:
    """Returns the names of the GPUs that this process can use, in the driver's order."""
    return tuple(name for name, _ in _gpus())


def gpu_memory() -> tuple[int, ...]:
    """Returns the bytes of memory of the same GPUs."""
    return tuple(memory for _, memory in _gpus())


@functools.lru_cache(maxsize=1)
def _gpus() -> tuple[tuple[str, int], ...]:
    """Returns the name and the bytes of memory of each GPU that this process can use."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_name_and_memory(driver, number) for number in range(count.value))


def _name_and_memory(driver: ctypes.CDLL, number: int) -> tuple[str, int]:
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    text = ctypes.create_string_buffer(_NAME_BYTES)
    if (
        driver.cuDeviceGet(ctypes.byref(device), number)
        or driver.cuDeviceGetName(text, _NAME_BYTES, device)
        or driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    ):
        return "unknown", 0
    return text.value.decode("utf-8", "replace"), memory.value


def versions(on_gpu: bool) -> dict[str, str]:
    """Returns the versions of libraries that shape the bytes, `none` if not installed by pip."""
    wanted = {**_DALI, **_GPU} if on_gpu else _DALI
    return {name: _version(name, wanted) for name in wanted}


def _version(name: str, wanted: Mapping[str, tuple[str, ...]]) -> str:
    for distribution in wanted[name]:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "none"
