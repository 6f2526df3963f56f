from __future__ import annotations

import io
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.storage.base import (
    InTheWayError,
    IrregularError,
    ReplacedError,
    Stat,
    read_up_to,
)
from beam_export.storage.uris import unpin


class Dripping(io.BytesIO):
    """Gives fewer bytes than are asked for, as a network does."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(3, size) if size and size > 0 else size)


@given(st.binary(max_size=30), st.integers(0, 40))
def test_short_reads_are_read_on(data: bytes, size: int) -> None:
    assert read_up_to(Dripping(data), size) == data[:size]


@pytest.mark.parametrize(
    "error",
    [ReplacedError("/in/a.jpg"), IrregularError("FIFO", "/in/a"), InTheWayError("/o", "x")],
)
def test_errors_come_back_from_workers_as_they_were(error: OSError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.errno, again.filename) == (str(error), error.errno, error.filename)


def test_a_pinned_uri_names_the_content_that_was_listed() -> None:
    stat = Stat(uri="gs://b/a.jpg", size=3, updated=1.5, generation=7)
    assert stat.pinned != stat.uri
    assert unpin(stat.pinned)[0] == stat.uri
    assert stat._replace(generation=8).pinned != stat.pinned
