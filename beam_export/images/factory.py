"""Chooses encoder and device, once, where the pipeline is built.

A worker that lacks what was chosen fails. It never takes another encoder, whose bytes would differ
from those of the other workers.
"""

from __future__ import annotations

from beam_export.errors import InputError
from beam_export.images.dali.device import (
    HOW_TO_INSTALL,
    codec_is_installed,
    dali_is_installed,
    gpu_names,
)
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.encoder import Encoder, EncodeSpec
from beam_export.images.idle_cores import Cores
from beam_export.images.pillow_encoder import PillowEncoder

__all__ = ["choose_encoder"]


def choose_encoder(
    spec: EncodeSpec,
    encoder: str,
    device: str,
    *,
    threads: int = 1,
    cores: Cores | None = None,
    workers_have_gpu: bool | None = None,
    gpu_processes: int = 1,
) -> Encoder:
    """Returns the encoder for the given options; `auto` is DALI where there is a GPU for it.

    Args:
        spec: options of the encoder.
        encoder: `auto`, `pillow` or `dali`.
        device: `auto`, `cpu` or `gpu`.
        threads: images that are encoded at the same time.
        cores: cores of all worker processes; see `PillowEncoder`.
        workers_have_gpu: whether workers on other machines have a GPU; None if the workers are on
            this machine.
        gpu_processes: processes of a machine elsewhere that share its GPU; 0 for one per core.

    Raises:
        InputError: if the encoder or device is missing, or the two contradict each other.
    """
    if encoder == "pillow" and device == "gpu":
        raise InputError(
            "--encoder=pillow with --device=gpu contradict each other, since Pillow has no GPU "
            "code: give --encoder=dali, or leave --device out."
        )
    on_this_machine = workers_have_gpu is None
    # Of other machines an explicit option is trusted; a worker that lacks it will fail and say so.
    gpu = bool(gpu_names()) if on_this_machine else workers_have_gpu or device == "gpu"
    if encoder == "auto" and device != "gpu":
        useful = device == "auto" and gpu and spec.mode != "never"
        encoder = "dali" if useful and (not on_this_machine or _suffices(spec)) else "pillow"
    if encoder == "pillow":
        return PillowEncoder(spec, threads, cores)
    if on_this_machine and not _suffices(spec):
        given = "--encoder=dali" if encoder == "dali" else "--device=gpu"
        raise InputError(
            f"{given} was given, but NVIDIA DALI is not installed: {HOW_TO_INSTALL}, or give "
            "--encoder=pillow."
        )
    if device == "gpu" and not gpu:
        raise InputError(
            "--device=gpu was given, but this machine has no NVIDIA GPU, or no driver for it: give "
            "--device=cpu, or use a machine with one."
        )
    return DaliEncoder(
        spec,
        "gpu" if gpu and device != "cpu" else "cpu",
        threads,
        processes=gpu_processes,
        changes_pixels=not on_this_machine or dali_is_installed(),
    )


def _suffices(spec: EncodeSpec) -> bool:
    """Returns whether this machine has what encodes with DALI; nvImageCodec alone cannot resize."""
    return dali_is_installed() or (codec_is_installed() and not spec.resizes)
