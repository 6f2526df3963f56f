from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.exports.rows import Rows, sample_ends


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 3)), min_size=1, max_size=9))
def test_a_sample_ends_where_the_next_one_begins(samples: list[tuple[int, int]]) -> None:
    at, offsets, ends = 0, [], []
    for size, more in samples:
        offsets.append(at + 512)
        at += 512 + size + -size % 512 + more * 1024
        ends.append(at)
    sizes = np.array([size for size, _ in samples])
    assert sample_ends(np.array(offsets), sizes, at).tolist() == ends


@pytest.mark.parametrize(("offsets", "sizes"), [([512, 700], [512, 9]), ([0], [1]), ([9000], [1])])
def test_places_that_do_not_follow_one_another_are_damage(
    offsets: list[int], sizes: list[int]
) -> None:
    with pytest.raises(ValueError, match="do not follow one another"):
        sample_ends(np.array(offsets), np.array(sizes), 8_192)


def test_a_row_has_the_values_of_all_columns() -> None:
    table = pa.table({"image_id": ["a", "b"], "score": [0.5, None]})
    rows = Rows(shard=0, first=10, table=table, ends=np.array([1024, 2048]))
    assert rows.values(1) == {"image_id": "b", "score": None}
    assert rows.behind == 12
