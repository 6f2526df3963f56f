"""What tests of metadata share."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from beam_export.metadata import filter as filter_module
from beam_export.metadata import sql


@pytest.fixture(autouse=True, scope="module")
def _one_database() -> Iterator[None]:
    """Opens one database for all filters: opening it takes ten times as long as evaluating one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filter_module, "connect", functools.cache(sql.connect))
        yield
