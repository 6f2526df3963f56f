"""Which encoder on which device: settled once, where the pipeline is made.

A worker that lacks what was settled fails; it never takes another one, for its bytes would differ
from those of the other workers.
"""

from __future__ import annotations

from beam_export.errors import InputError
from beam_export.images.dali.device import HOW_TO_INSTALL, dali_is_installed, gpu_names
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
) -> Encoder:
    """Returns the encoder that is asked for, with `auto` settled: DALI where it has a GPU.

    Args:
        spec: what is asked of it.
        encoder: `auto`, `pillow` or `dali`.
        device: `auto`, `cpu` or `gpu`.
        threads: images in work at the same time.
        cores: what Pillow's threads are held to; see `PillowEncoder`.
        workers_have_gpu: whether the workers get one, if they are not of this machine; None if
            they are.

    Raises:
        InputError: if what is asked for is not there, or contradicts itself.
    """
    if encoder == "pillow" and device == "gpu":
        raise InputError(
            "--encoder=pillow with --device=gpu contradict each other, since Pillow has no GPU "
            "code: give --encoder=dali, or leave --device out."
        )
    here = workers_have_gpu is None
    # Elsewhere, what is asked for outright is taken on trust; a worker that lacks it will say so.
    gpu = bool(gpu_names()) if here else workers_have_gpu or device == "gpu"
    if encoder == "auto" and device != "gpu":
        useful = device == "auto" and gpu and spec.mode != "never"
        encoder = "dali" if useful and (not here or dali_is_installed()) else "pillow"
    if encoder == "pillow":
        return PillowEncoder(spec, threads, cores)
    if here and not dali_is_installed():
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
    return DaliEncoder(spec, "gpu" if gpu and device != "cpu" else "cpu", threads)
