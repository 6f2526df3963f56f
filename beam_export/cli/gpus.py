"""Decides how many worker processes use the GPUs of this machine: by their memory, not by cores."""

from __future__ import annotations

from typing import NamedTuple

from beam_export.errors import InputError
from beam_export.images.dali.device import gpu_memory, gpu_names
from beam_export.images.dali.device_share import most_processes, processes_for
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.factory import choose_encoder
from beam_export.options import ExportOptions

__all__ = ["LocalGpus", "local_gpus"]


class LocalGpus(NamedTuple):
    """GPUs of this machine that an export uses; none if it uses none.

    Attributes:
        devices: their numbers. All are of one kind, so that each gives the same bytes.
        memory: bytes of each.
    """

    devices: tuple[int, ...] = ()
    memory: tuple[int, ...] = ()

    def workers(self, cores: int) -> int:
        """Returns how many worker processes there are by default, one per core without GPUs."""
        return processes_for(self.memory, cores) if self.devices else cores

    def check(self, workers: int) -> None:
        """Checks a number of worker processes that was given.

        Raises:
            InputError: if the memory of the GPUs does not suffice for so many.
        """
        most = most_processes(self.memory)
        if self.devices and workers > most:
            raise InputError(
                f"--direct_num_workers={workers} is more than share {len(self.devices)} GPU of "
                f"{min(self.memory) >> 30} GiB: leave it out, or give {most} at most."
            )


def local_gpus(options: ExportOptions) -> LocalGpus:
    """Returns the GPUs that an export uses on this machine.

    Raises:
        InputError: if the encoder that is asked for is not there.
    """
    encoder = choose_encoder(options.spec(), options.encoder, options.device)
    if not isinstance(encoder, DaliEncoder) or encoder.device != "gpu":
        return LocalGpus()
    names, memory = gpu_names(), gpu_memory()
    devices = tuple(number for number, name in enumerate(names) if name == names[0])
    return LocalGpus(devices, tuple(memory[number] for number in devices))
