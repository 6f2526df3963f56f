"""Fixtures of a small export; a module whose tests need another makes its own by these names."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.exports import Export, make_images

__all__ = ["images", "plain"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven images."""
    return make_images(tmp_path_factory.mktemp("in"), 7)


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """An export of them into shards of three."""
    # Tests of the core are run where Beam may not be imported.
    from support.runs import run_export

    return run_export(images, tmp_path_factory.mktemp("plain") / "out", images_per_tar=3)
