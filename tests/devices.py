"""Skips tests where there is no DALI or no GPU, and says what to install or to use."""

from __future__ import annotations

import os

import pytest

from beam_export.encoders.dali_device import dali_is_installed, gpu_names

__all__ = ["need_dali", "need_gpu"]


def need_dali() -> None:
    """Skips without DALI; where everything is to be tested, its absence is a failure."""
    if not dali_is_installed():
        reason = "NVIDIA DALI is not installed: pip install '.[gpu-cu13]'"
        if os.environ.get("BEAM_EXPORT_CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def need_gpu() -> None:
    """Skips without a GPU or without DALI."""
    if not gpu_names():
        pytest.skip("no NVIDIA GPU")
    need_dali()
