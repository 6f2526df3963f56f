"""Gives every process that is started with it a GPU that is made up, as `sitecustomize` does.

Each process notes its number and its GPU in a folder. For each file `poison-...` that lies there,
one process has its context poisoned after some work.
"""

from __future__ import annotations

import contextlib
import os
import pathlib

from support.fake_gpu.device import FakeDevice, Faults
from support.fake_gpu.machine import libraries

from beam_export.images.dali import device
from beam_export.images.dali import libraries as own
from beam_export.images.dali.libraries import Libraries

__all__ = ["install"]

_MEMORY = 24 << 30
#: Calls of the device before the poison works: some images later than the first look at it.
_LATER = 60


def install(folder: pathlib.Path, gpus: int) -> None:
    """Has this process find so many GPUs."""
    device._gpus = lambda: (("NVIDIA Fake 9", _MEMORY),) * gpus  # type: ignore[assignment]
    device._can_import = lambda name: True
    own.load_libraries = lambda device_id: _loaded(folder, device_id)


def _loaded(folder: pathlib.Path, device_id: int | None) -> Libraries:
    assert device_id is not None
    (folder / f"process-{os.getpid()}-{device_id}").touch()
    faults = Faults()
    for poison in folder.glob("poison-*"):
        with contextlib.suppress(FileNotFoundError):
            poison.unlink()
            faults = Faults({"poisoned": 1e-9}, sure={"poisoned": _LATER})
            break
    return libraries(FakeDevice(_MEMORY, faults), device_id)
