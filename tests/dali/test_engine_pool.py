"""`beam_export.images.dali.engine_pool`: batches that fit, and engines for one thread at a time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_engine import FakeEngine, jobs_of

from beam_export.errors import RunError
from beam_export.images.dali.engine_pool import EnginePool, split_jobs
from beam_export.images.dali.routing import DaliImage


def pool_of(make: Callable[[], FakeEngine]) -> EnginePool:
    """Returns a pool of one engine that does not wait, and asks for one plain image as a test."""
    return EnginePool(
        make, 1, most_pixels=1_000, name="it", probes=jobs_of([1]), pause=lambda _: None
    )


def test_a_full_device_gets_halves_and_then_smaller_batches() -> None:
    engine = FakeEngine(room=3)
    made: list[FakeEngine] = []

    def make() -> FakeEngine:
        made.append(engine)
        return engine

    pool = pool_of(make)
    assert pool.encode(jobs_of([10] * 8)) == [b"10"] * 8
    # Each is tried twice, and a plain image between.
    assert engine.batches == [8, 1, 8, 1, 4, 1, 4, 1, 2, 2, 4, 1, 4, 1, 2, 2]
    assert pool.most_pixels == 20
    assert len(made) == 7  # what has raised is not used again


def test_a_device_that_is_lost_is_the_runs_fault_and_never_pillows() -> None:
    pool = pool_of(lambda: FakeEngine(broken="CUDA error 719 <0x7f>\n  at launch"))
    with pytest.raises(RunError, match="not even a plain image can be encoded") as caught:
        pool.encode(jobs_of(range(20)))
    assert "CUDA error 719 <0x7f> at launch" in caught.value.sentence


def test_a_fault_that_passes_costs_no_batch_its_size() -> None:
    engines = [FakeEngine(broken="passing"), FakeEngine()]
    pool = pool_of(lambda: engines.pop(0))
    assert pool.encode(jobs_of([10] * 8)) == [b"10"] * 8
    assert pool.most_pixels == 1_000


def test_after_a_fault_no_engine_of_before_is_used() -> None:
    """They share a context with the one that has failed."""
    made: list[FakeEngine] = []

    def make() -> FakeEngine:
        made.append(FakeEngine())
        return made[-1]

    pool = EnginePool(make, 2, most_pixels=1_000, name="it", probes=jobs_of([1]))
    with pool.engine(), pool.engine():
        pass
    for engine in made:
        engine.broken = "gone"
    assert pool.encode(jobs_of([10])) == [b"10"]
    # One has failed, the other one has seen nothing, and a new one did the test and the work.
    assert sorted(len(engine.batches) for engine in made[:2]) == [0, 1]
    assert [len(engine.batches) for engine in made[2:]] == [2]


def test_an_image_alone_waits_for_memory() -> None:
    waits: list[float] = []
    engine = FakeEngine(room=0)

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if sum(waits) >= 5:
            engine.room = 9

    pool = EnginePool(lambda: engine, 1, most_pixels=1_000, name="it", pause=pause)
    assert pool.encode(jobs_of([10])) == [b"10"]
    assert sum(waits) >= 5
    engine.room = 0
    waits[:] = [-100]
    with pytest.raises(RunError, match=r"single image that is not at fault \(CUDA out of memory"):
        pool.encode(jobs_of([10]))


def test_all_batches_together_are_within_the_room_of_the_device() -> None:
    turn = threading.Lock()
    held: list[int] = [0]
    most: list[int] = [0]

    class Engine(FakeEngine):
        def encode(self, jobs: Sequence[DaliImage]) -> list[bytes | None]:
            pixels = sum(job.pixels for job in jobs)
            with turn:
                held[0] += pixels
                most[0] = max(most[0], held[0])
            time.sleep(0.001)
            with turn:
                held[0] -= pixels
            return super().encode(jobs)

    pool = EnginePool(Engine, 3, most_pixels=100, name="it")
    with ThreadPoolExecutor(8) as threads:
        sizes = [[10], [90], [250], [300], [40, 40]] * 6
        done = list(threads.map(lambda one: pool.encode(jobs_of(one)), sizes))
    assert done == [[b"%d" % width for width in one] for one in sizes]
    assert 100 < most[0] <= 300


def test_an_engine_is_never_with_two_threads() -> None:
    pool = EnginePool(FakeEngine, 3, most_pixels=1_000, name="it")
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda _: pool.encode(jobs_of([5] * 7)), range(400)))
    assert results == [[b"5"] * 7] * 400
    assert len(pool._idle) <= 3


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 9), st.integers(1, 120))
def test_batches_are_within_both_limits(widths: list[int], most: int, pixels: int) -> None:
    batches = split_jobs(jobs_of(widths), most, pixels)
    assert [width for batch in batches for width in widths[batch]] == widths
    for batch in batches:
        inside = widths[batch]
        assert 1 <= len(inside) <= most
        assert sum(inside) <= pixels or len(inside) == 1
    for one, two in itertools.pairwise(batches):
        full = widths[one.start : two.start + 1]
        assert len(full) > most or sum(full) > pixels
