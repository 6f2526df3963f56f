"""`beam_export.cli.gpus`: worker processes by the memory of GPUs, not by cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from beam_export.cli.gpus import LocalGpus, local_gpus
from beam_export.errors import InputError
from beam_export.images import factory
from beam_export.options import ExportOptions

GIB = 1 << 30


@pytest.fixture(name="machine")
def _machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def make(names: Sequence[str], memory: Sequence[int]) -> None:
        for module in ("beam_export.cli.gpus", factory.__name__):
            monkeypatch.setattr(f"{module}.gpu_names", lambda: tuple(names))
        monkeypatch.setattr("beam_export.cli.gpus.gpu_memory", lambda: tuple(memory))
        monkeypatch.setattr(factory, "dali_is_installed", lambda: True)

    return make


def options(**given: str) -> ExportOptions:
    return ExportOptions(output_dir="/out", **given)  # type: ignore[arg-type]


def test_a_gpu_has_few_processes_and_not_one_per_core(machine: Callable[..., None]) -> None:
    machine(["NVIDIA L4"], [24 * GIB])
    gpus = local_gpus(options())
    assert gpus == LocalGpus((0,), (24 * GIB,))
    assert gpus.workers(16) == 4
    assert gpus.workers(2) == 2
    gpus.check(12)
    with pytest.raises(InputError, match="--direct_num_workers=13 is more than share 1 GPU of 24"):
        gpus.check(13)


def test_without_a_gpu_for_it_there_is_one_process_per_core(machine: Callable[..., None]) -> None:
    machine(["NVIDIA L4"], [24 * GIB])
    others: list[dict[str, str]] = [{"encoder": "pillow"}, {"device": "cpu"}, {"encode": "never"}]
    for given in others:
        assert local_gpus(options(**given)).workers(16) == 16
        local_gpus(options(**given)).check(100)
    machine([], [])
    assert local_gpus(options()).workers(16) == 16


def test_gpus_of_another_kind_are_left_alone(machine: Callable[..., None]) -> None:
    """Two kinds may give two kinds of bytes."""
    machine(["NVIDIA L4", "NVIDIA T4", "NVIDIA L4"], [24 * GIB, 16 * GIB, 24 * GIB])
    gpus = local_gpus(options(encoder="dali"))
    assert gpus.devices == (0, 2)
    assert gpus.workers(16) == 8
