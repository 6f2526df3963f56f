"""`beam_export.images.memory_allocator`: freed memory goes back, and stays for encoding."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from beam_export.images import memory_allocator

MIB = 1 << 20
#: Allocates 24 MiB and frees it, as an image's pixels are; prints the MiB that stay resident.
_SCRIPT = """
import ctypes, sys
from beam_export.images import memory_allocator
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 >> 20
def stays():
    before = resident()
    place = libc.malloc(24 << 20)
    ctypes.memset(place, 1, 24 << 20)
    libc.free(place)
    return resident() - before
"""


def is_glibc() -> bool:
    return memory_allocator._glibc() is not None


def _run(body: str, **environment: str) -> list[int]:
    """Returns the numbers that a fresh process prints."""
    settings = {name: value for name, value in os.environ.items() if "MALLOC_" not in name}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT + body],
        capture_output=True,
        text=True,
        check=True,
        env={**settings, **environment},
    )
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(not is_glibc(), reason="glibc's settings")
def test_freed_memory_goes_back_until_an_image_is_encoded_and_then_on_demand():
    before, during, after = _run(
        "memory_allocator.give_back_freed()\n"
        "print(stays())\n"
        "memory_allocator.keep_freed()\n"
        "empty = resident()\n"
        "print(stays())\n"
        "memory_allocator.give_back()\n"
        "print(resident() - empty)\n"
    )
    assert before < 4
    assert during > 20
    assert after < 4


@pytest.mark.skipif(not is_glibc(), reason="glibc's settings")
@pytest.mark.parametrize(
    "setting",
    [
        {"MALLOC_MMAP_THRESHOLD_": "1048576"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576"},
    ],
)
def test_what_the_user_has_set_stays(setting: dict[str, str]):
    (stays,) = _run(
        "memory_allocator.give_back_freed()\nmemory_allocator.keep_freed()\nprint(stays())\n",
        **setting,
    )
    assert stays < 4


@pytest.mark.skipif(not is_glibc(), reason="glibc's settings")
def test_a_process_of_the_users_own_is_left_as_it_is():
    called = _run(
        "called = []\n"
        "memory_allocator._apply = called.append\n"
        "memory_allocator.keep_freed()\n"
        "print(len(called))\n"
    )
    assert called == [0]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    def refuses(name: str) -> str:
        raise ValueError(f"unrecognized configuration name {name}")

    monkeypatch.setattr(os, "confstr", refuses)
    memory_allocator._glibc.cache_clear()
    try:
        assert memory_allocator._glibc() is None
        memory_allocator._apply(memory_allocator._KEEPING)
    finally:
        memory_allocator._glibc.cache_clear()
