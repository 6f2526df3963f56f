"""DALI's pipelines for a GPU that is made up: the graph of `graph.py` by NumPy and Pillow.

Source: DALI 2.4, `Pipeline.feed_input` and `Pipeline.run`: a batch has all inputs; outputs belong
to the pipeline, and the next run overwrites them; one bad sample is raised for all, and the
pipeline is broken then; with a stream given, outputs may be read in its order alone, and without
one, `run` waits for the device.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from support.fake_gpu.codec import FakeImage
from support.fake_gpu.device import FakeDevice, alone

from beam_export.images.dali.graph import Kind

__all__ = ["FakePipe"]


class FakePipe:
    def __init__(self, device: FakeDevice, kind: Kind, *, most: int, threads: int) -> None:
        assert threads >= 1
        self._device, self._kind, self._most = device, kind, most
        self._lock = threading.Lock()
        self._inputs: dict[str, Sequence[Any]] = {}
        self._kept: list[FakeImage] = []
        self._broken, self._stream = False, 0
        self._stream = device.new_stream()

    def __del__(self) -> None:
        self._kept.clear()
        self._device.streams.discard(self._stream)

    def feed_input(self, name: str, values: Sequence[Any], **how: Any) -> None:
        with alone(self._device, self._lock, "pipeline"):
            if len(values) > self._most:
                raise RuntimeError("the batch is larger than batch_size")
            if name == "pixels":
                assert how["layout"] == "HWC"
                values = [self._copied(one, how["cuda_stream"]) for one in values]
            self._inputs[name] = values

    def _copied(self, image: Any, stream: int) -> np.ndarray:
        self._device.check()
        interface = image.__cuda_array_interface__
        shape = tuple(interface["shape"])
        assert len(shape) == 3
        assert shape[2] == self._kind.channels
        return self._device.view(interface["data"][0], shape, stream).copy()

    def run(self, cuda_stream: int | None = None, /) -> tuple[list[FakeImage]]:
        with alone(self._device, self._lock, "pipeline"):
            if self._broken:
                self._device.forbid("a pipeline was used after it had raised")
            inputs, self._inputs = self._inputs, {}
            self._broken = True
            self._device.check()
            if self._device.faults.strikes("pipeline-raises"):
                raise RuntimeError("Critical error in pipeline: sample #1")
            # The outputs of the last run are overwritten.
            self._kept.clear()
            count = len(inputs["pixels"])
            made = [
                _result(self._kind, {name: values[at] for name, values in inputs.items()})
                for at in range(count)
            ]
            given = self._stream if cuda_stream is None else cuda_stream
            out = [self._kept_as(pixels, given) for pixels in made]
            # Inputs and what lies between are kept too.
            for pixels in inputs["pixels"]:
                self._kept_as(pixels, self._stream)
                self._kept_as(pixels, self._stream)
            if cuda_stream is None:
                self._device.wait(self._stream)
            self._broken = False
            return (out,)

    def _kept_as(self, pixels: np.ndarray, stream: int) -> FakeImage:
        block = self._device.allocate(pixels.nbytes, stream)
        block.data[:] = pixels.reshape(-1)
        self._kept.append(FakeImage(self._device, block, pixels.shape))
        # The pipeline alone owns it: who reads it later reads what was freed.
        return _Borrowed(self._kept[-1])  # type: ignore[return-value]


class _Borrowed:
    """A tensor of an output, as it can be passed on; it does not keep the pixels alive."""

    def __init__(self, image: FakeImage) -> None:
        self.shape = image.shape
        self.__cuda_array_interface__ = {**image.__cuda_array_interface__, "stream": None}


def _result(kind: Kind, inputs: dict[str, Any]) -> np.ndarray:
    pixels = inputs["pixels"]
    if kind.channels == 4:
        color, alpha = pixels[..., :3].astype(np.float64), pixels[..., 3:].astype(np.float64)
        pixels = np.rint((color - 255) * alpha / 255 + 255).astype(np.uint8)
    if kind.turned != kind.resized:
        pixels = pixels.transpose(1, 0, 2)
    pixels = pixels[:, ::-1] if inputs["flip"] else pixels
    pixels = pixels[::-1] if inputs["flop"] else pixels
    if kind.resized:
        pixels = _scaled(_scaled(pixels, inputs["widened"]).transpose(1, 0, 2), inputs["scaled"])
        pixels = _window(pixels, inputs["corner"], inputs["shape"])
    return np.ascontiguousarray(pixels)


def _scaled(pixels: np.ndarray, size: np.ndarray) -> np.ndarray:
    height, width = (int(side) for side in size)
    gray = pixels.shape[2] == 1
    im = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if gray else pixels))
    return np.atleast_3d(np.asarray(im.resize((width, height), Image.Resampling.LANCZOS)))


def _window(pixels: np.ndarray, corner: np.ndarray, shape: np.ndarray) -> np.ndarray:
    height, width = (int(side) for side in shape)
    top, left = (int(side) for side in corner)
    made = np.full((height, width, pixels.shape[2]), 255, np.uint8)
    inside = pixels[max(top, 0) : top + height, max(left, 0) : left + width]
    y, x = max(-top, 0), max(-left, 0)
    made[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return made
