"""`beam_export.images.dali.pipelines`: which are kept, and what becomes of a broken one."""

from __future__ import annotations

from typing import Any

import pytest
from support.fake_gpu.device import FakeDevice
from support.fake_gpu.machine import libraries

from beam_export.images.dali.graph import Kind
from beam_export.images.dali.pipelines import Pipelines
from beam_export.images.dali.routing import DaliImage

TURNED, GRAY, ALPHA = Kind(3, True, False), Kind(1, True, False), Kind(4, False, False)


class Pipe:
    """Counts what was built; raises once if told so."""

    built: list[Kind]
    broken: list[Kind]

    def __init__(self, kind: Kind, **_: Any) -> None:
        self.kind = kind
        self.built.append(kind)

    def feed_input(self, name: str, values: Any, **how: Any) -> None:
        if name == "pixels":
            assert how["cuda_stream"] == 5
            self.values = values

    def run(self, stream: int, /) -> tuple[Any]:
        assert stream == 5
        if self.kind in self.broken:
            self.broken.remove(self.kind)
            raise RuntimeError("a sample is bad")
        return (self.values,)


@pytest.fixture(name="pipes")
def _pipes() -> type[Pipe]:
    return type("Fresh", (Pipe,), {"built": [], "broken": []})


def pipelines(pipes: type[Pipe], most_pixels: int) -> Pipelines:
    real = libraries(FakeDevice(1 << 20))._replace(build=pipes)
    return Pipelines(real, stream=5, threads=1, most=8, most_pixels=most_pixels)


def job(kind: Kind, side: int) -> DaliImage:
    return DaliImage(b"", "jpg", side, 10, kind.channels, 6 if kind.turned else 1)


def test_pipelines_are_kept_within_their_memory(pipes: type[Pipe]) -> None:
    kept = pipelines(pipes, most_pixels=1_000)
    for kind, side in ((TURNED, 40), (GRAY, 40), (TURNED, 10), (GRAY, 30)):
        assert kept.run(kind, [job(kind, side)], ["it"]) == ["it"]
    assert pipes.built == [TURNED, GRAY]
    # Two large batches are kept already; the one that was used longest ago goes.
    kept.run(ALPHA, [job(ALPHA, 60)], ["it"])
    kept.run(GRAY, [job(GRAY, 10)], ["it"])
    assert pipes.built == [TURNED, GRAY, ALPHA]
    kept.run(TURNED, [job(TURNED, 10)], ["it"])
    assert pipes.built == [TURNED, GRAY, ALPHA, TURNED]


def test_a_pipeline_that_has_raised_is_not_used_again(pipes: type[Pipe]) -> None:
    kept = pipelines(pipes, most_pixels=1_000)
    kept.run(TURNED, [job(TURNED, 10)], ["it"])
    pipes.broken.append(TURNED)
    with pytest.raises(RuntimeError, match="a sample is bad"):
        kept.run(TURNED, [job(TURNED, 10)], ["it"])
    assert kept.run(TURNED, [job(TURNED, 10)], ["it"]) == ["it"]
    assert pipes.built == [TURNED, TURNED]
