"""`beam_export.images.dali.device`: what the driver says."""

from __future__ import annotations

import pytest

from beam_export.images.dali import device


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(device.ctypes, "CDLL", missing)
    device._gpus.cache_clear()
    assert device.gpu_names() == device.gpu_memory() == ()
    device._gpus.cache_clear()
