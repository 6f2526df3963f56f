"""`beam_export.images.dali.engine_pool`: batches that fit, and engines for one thread at a time."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_engine import FakeEngine, jobs_of

from beam_export.errors import RunError
from beam_export.images.dali.engine_pool import EnginePool, split


def test_a_full_device_gets_halves_and_then_smaller_batches() -> None:
    engine = FakeEngine(room=3)
    made: list[FakeEngine] = []

    def make() -> FakeEngine:
        made.append(engine)
        return engine

    pool = EnginePool(make, 1, 1_000, "it")
    assert pool.encode(jobs_of([10] * 8)) == [b"10"] * 8
    assert engine.batches == [8, 4, 2, 2, 4, 2, 2]
    assert pool.most_pixels == 20
    assert len(made) == 4  # what has raised is not used again


def test_a_device_that_is_lost_is_the_runs_fault_and_never_pillows() -> None:
    pool = EnginePool(
        lambda: FakeEngine(broken="CUDA error 719 <0x7f>\n  at launch"), 1, 1_000, "it"
    )
    with pytest.raises(RunError, match="DALI on it failed for a single image") as caught:
        pool.encode(jobs_of(range(20)))
    assert "CUDA error 719 <0x7f> at launch" in caught.value.sentence


def test_an_engine_is_never_with_two_threads() -> None:
    pool = EnginePool(FakeEngine, 3, 1_000, "it")
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda _: pool.encode(jobs_of([5] * 7)), range(400)))
    assert results == [[b"5"] * 7] * 400
    assert len(pool._idle) <= 3


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 9), st.integers(1, 120))
def test_batches_are_within_both_limits(widths: list[int], most: int, pixels: int) -> None:
    batches = split(jobs_of(widths), most, pixels)
    assert [width for batch in batches for width in widths[batch]] == widths
    for batch in batches:
        inside = widths[batch]
        assert 1 <= len(inside) <= most
        assert sum(inside) <= pixels or len(inside) == 1
    for one, two in itertools.pairwise(batches):
        full = widths[one.start : two.start + 1]
        assert len(full) > most or sum(full) > pixels
