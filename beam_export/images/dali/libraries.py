"""The few calls that are made of nvImageCodec and DALI, and NVIDIA's own libraries behind them.

Everything of the device goes through `Libraries`, so that a stand-in can take its place.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from beam_export.images.dali.cuda import CudaDriver, Driver
from beam_export.images.dali.graph import build_pipeline

__all__ = ["Build", "Codec", "CodecDecoder", "CodecEncoder", "Libraries", "Pipe", "load_libraries"]


class CodecDecoder(Protocol):
    """nvImageCodec's: used by one thread at a time, or the process crashes."""

    def decode(self, sources: Sequence[Any], *, params: Any, cuda_stream: int) -> Sequence[Any]:
        """Returns an image for each source, None for one that it cannot decode."""


class CodecEncoder(Protocol):
    """nvImageCodec's: used by one thread at a time, or the process crashes."""

    def encode(
        self, images: Sequence[Any], codec: str, *, params: Any, cuda_stream: int
    ) -> Sequence[Any]:
        """Returns a stream for each image, None for one that it cannot encode."""


class Codec(Protocol):
    """The module `nvidia.nvimgcodec`, as far as it is used; constants are its own."""

    CPU_ONLY: Any
    GPU_ONLY: Any
    HYBRID_CPU_GPU: Any
    NVIMGCODEC_DEVICE_CPU_ONLY: int
    ColorSpec: Any
    SampleFormat: Any
    QualityType: Any
    #: Constructors: of a backend by its kind, of a source by its bytes, of parameters by keywords.
    Backend: Callable[[Any], Any]
    CodeStream: Callable[[bytes], Any]
    DecodeParams: Callable[..., Any]
    EncodeParams: Callable[..., Any]
    JpegEncodeParams: Callable[..., Any]
    Decoder: Callable[..., CodecDecoder]
    Encoder: Callable[..., CodecEncoder]


class Pipe(Protocol):
    """A pipeline of DALI's, built and ready."""

    def feed_input(self, name: str, values: Sequence[Any], **how: Any) -> None:
        """Hands over the next batch of an input; on a GPU, in the order of `cuda_stream`."""

    def run(self, cuda_stream: int | None = None, /) -> tuple[Any, ...]:
        """Returns the outputs of the next batch, which the next run overwrites.

        They may be read in the order of the stream; without one, it waits for them.
        """


#: Returns a pipeline for a kind of images: `graph.build_pipeline` is one.
Build = Callable[..., Pipe]


class Libraries(NamedTuple):
    """NVIDIA's libraries as one process uses them, for one device.

    Attributes:
        device_id: number of the GPU; None for the CPU.
        codec: nvImageCodec.
        build: makes DALI's pipelines.
        driver: CUDA; None for the CPU.
    """

    device_id: int | None
    codec: Codec
    build: Build
    driver: Driver | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether pixels lie in the memory of a GPU."""
        return self.device_id is not None


def load_libraries(device_id: int | None) -> Libraries:
    """Returns NVIDIA's own libraries.

    Args:
        device_id: number of the GPU; None for the CPU.

    Raises:
        RuntimeError: if the device does not answer.
    """
    # Else there is a line on stderr per bad image. Read when the library is loaded.
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
    from nvidia import nvimgcodec

    driver = None if device_id is None else _driver(device_id, os.getpid())
    return Libraries(device_id, nvimgcodec, build_pipeline, driver)


# One per process and device, with the streams that it has made; a forked process has none of them.
@functools.lru_cache
def _driver(device_id: int, process: int) -> CudaDriver:
    return CudaDriver(device_id)
