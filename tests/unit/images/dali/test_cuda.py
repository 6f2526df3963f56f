"""`beam_export.images.dali.cuda`: uploads of a batch, and what the driver says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_gpu.device import FakeDevice, FakeDriver, Faults

from beam_export.images.dali import cuda
from beam_export.images.dali.cuda import CudaDriver, EngineStream, Uploads


def pixels_of(device: FakeDevice, uploaded: Any, stream: int) -> np.ndarray:
    interface = uploaded.__cuda_array_interface__
    assert interface["stream"] == stream
    return device.view(interface["data"][0], interface["shape"], stream).copy()


@given(st.lists(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), max_size=5), max_size=5))
def test_pixels_arrive_as_they_were(batches: list[list[tuple[int, int]]]) -> None:
    device = FakeDevice(1 << 20)
    driver, made = FakeDriver(device), 0
    stream = EngineStream(driver)
    uploads = Uploads(driver, stream.address)
    for batch in batches:
        arrays = []
        for height, width in batch:
            made += 1
            arrays.append(np.full((height, width, 3), made % 256, np.uint8))
        for one, wanted in zip(uploads.put(arrays), arrays, strict=True):
            np.testing.assert_array_equal(pixels_of(device, one, stream.address), wanted)
        # The encoder waits for the stream before the next batch comes.
        device.wait(stream.address)
    assert device.violations == []
    del uploads, stream
    assert device.used == 0
    assert device.violations == []


def test_a_stream_outlives_its_engine_and_serves_the_next() -> None:
    device = FakeDevice(1 << 20)
    driver = FakeDriver(device)
    one, two = EngineStream(driver), EngineStream(driver)
    assert one.address != two.address
    before = one.address
    del one
    assert EngineStream(driver).address == before
    assert EngineStream(FakeDriver(device)).address not in (before, two.address)
    assert len(device.streams) == 3


def test_memory_is_kept_from_batch_to_batch() -> None:
    device = FakeDevice(1 << 20)
    driver = FakeDriver(device)
    uploads = Uploads(driver, driver.new_stream())
    for size in (30, 20, 30, 1, 60, 50):
        uploads.put([np.zeros((size, 10, 3), np.uint8)])
    assert device.grown == 2
    assert len(driver._host) == 1
    assert uploads.put([]) == []


def test_a_full_device_is_an_error_and_leaves_nothing_behind() -> None:
    device = FakeDevice(1 << 20, Faults({"no-memory": 1.0}, most={"no-memory": 1}))
    driver = FakeDriver(device)
    uploads = Uploads(driver, driver.new_stream())
    with pytest.raises(RuntimeError, match="#2"):
        uploads.put([np.zeros((9, 9, 3), np.uint8)])
    assert driver._host == {}
    uploads.put([np.zeros((9, 9, 3), np.uint8)])
    assert len(driver._host) == 1
    assert device.violations == []


class _Library:
    """The driver's library: notes the calls; `fails` is the one that returns an error."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[str] = []
        self._fails = fails

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == "cuStreamCreate":
                arguments[0]._obj.value = 0x77
            if name == "cuMemPoolSetAttribute":
                self.limit = arguments[2]._obj.value
            if name == "cuMemGetInfo_v2":
                arguments[0]._obj.value, arguments[1]._obj.value = 3, 9
            return 2 if name == self._fails else 0

        return call


@pytest.fixture(name="library")
def _library(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(fails: str = "") -> tuple[CudaDriver, _Library]:
        library = _Library(fails)
        monkeypatch.setattr(cuda.ctypes, "CDLL", lambda _: library)
        return CudaDriver(0), library

    return make


def test_each_call_is_made_in_the_context_of_the_device(library: Any) -> None:
    driver, made = library()
    assert driver.memory() == (3, 9)
    driver.keep_freed(5 << 30)
    assert made.limit == 5 << 30
    assert driver.new_stream() == 0x77
    made.calls.clear()
    driver.copy_to_device(driver.allocate(8, 0x77), np.zeros(8, np.uint8), 0x77)
    assert made.calls[1::2] == ["cuMemAllocAsync", "cuMemcpyHtoDAsync_v2"]
    assert set(made.calls[0::2]) == {"cuCtxSetCurrent"}


def test_an_error_names_the_call_and_freeing_never_fails(library: Any) -> None:
    driver, _ = library("cuMemAllocAsync")
    with pytest.raises(RuntimeError, match="cuMemAllocAsync failed with CUDA error 2"):
        driver.allocate(8, 0)
    driver, made = library("cuMemFreeAsync")
    driver.free(0x1000, 0x77)
    assert made.calls[-1] == "cuMemFreeAsync"
    with pytest.raises(RuntimeError, match="cuInit"):
        library("cuInit")
