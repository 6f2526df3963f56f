"""Idle cores: who works is seen, who ended is not, and one process at a time has them all."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading

import pytest
from support.exports import picture

from beam_export.images import idle_cores
from beam_export.images.encoder import EncodeSpec
from beam_export.images.idle_cores import Cores, shared_cores
from beam_export.images.pillow_encoder import PillowEncoder

AT_WORK = """
import pickle, sys, time
with pickle.loads(bytes.fromhex(sys.argv[1])).at_work():
    print("at work", flush=True)
    time.sleep(600)
"""


def test_who_is_at_work_has_a_core_and_the_rest_are_idle() -> None:
    with shared_cores(3) as cores:
        with cores.idle() as idle:
            assert idle == 3
        with cores.at_work(), cores.at_work():
            with cores.idle() as idle:
                assert idle == 1
            with cores.at_work(), cores.idle() as idle:
                assert idle == 0
        with cores.idle() as idle:
            assert idle == 3


def test_idle_cores_are_for_one_at_a_time() -> None:
    with shared_cores(2) as cores:
        with cores.idle() as first, cores.idle() as second:
            assert (first, second) == (2, 0)
        with cores.idle() as again:
            assert again == 2


def test_more_at_work_than_there_are_cores_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    moments: list[float] = []
    monkeypatch.setattr(idle_cores.time, "sleep", moments.append)
    with shared_cores(1) as cores, cores.at_work():
        assert moments == []
        with cores.at_work(), cores.idle() as idle:
            assert idle == 0
        assert len(moments) == idle_cores._TRIES


def test_a_process_that_was_killed_is_not_at_work() -> None:
    with shared_cores(2) as cores:
        command = [sys.executable, "-c", AT_WORK, pickle.dumps(cores).hex()]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "at work\n"
            with cores.idle() as idle:
                assert idle == 1
        finally:
            worker.kill()
            worker.communicate()
        with cores.idle() as idle:
            assert idle == 2


def test_nothing_is_idle_and_nothing_left_after_the_run() -> None:
    with shared_cores(2) as cores:
        assert all(map(os.path.exists, (*cores.locks, cores.turn)))
    assert not any(map(os.path.exists, (*cores.locks, cores.turn)))
    with cores.at_work(), cores.idle() as idle:
        assert idle == 0


@pytest.mark.parametrize(("others", "wanted"), [(0, 4), (1, 3), (3, 1)])
def test_pillow_has_as_many_threads_at_work_as_cores_are_idle(others: int, wanted: int) -> None:
    threads: set[int] = set()
    together = threading.Barrier(wanted)

    class Spy(PillowEncoder):
        def _encode(self, image):  # type: ignore[no-untyped-def]
            if threading.get_ident() not in threads:
                threads.add(threading.get_ident())
                together.wait(60)  # so that none is done before all have begun
            return super()._encode(image)

    with shared_cores(4) as cores:
        encoder = Spy(EncodeSpec(mode="always"), 4, cores)
        images = [picture(seed) for seed in range(8)]
        encoder.open()
        with contextlib.ExitStack() as working:
            for _ in range(1 + others):
                working.enter_context(cores.at_work())
            results = encoder.encode_batch(images)
        encoder.close()
    assert len(threads) == wanted
    assert results == PillowEncoder(EncodeSpec(mode="always")).encode_batch(images)


def test_an_encoder_keeps_its_cores_on_its_way_to_a_worker() -> None:
    cores = Cores(("a", "b"), "c")
    encoder = pickle.loads(pickle.dumps(PillowEncoder(EncodeSpec(), 2, cores)))
    assert (encoder.threads, encoder._cores) == (2, cores)
