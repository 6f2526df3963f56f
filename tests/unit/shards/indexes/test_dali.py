from __future__ import annotations

import pytest
from support.indexes import BY_HAND

from beam_export.shards.indexes.dali import is_dali_index


def test_an_index_is_known_by_its_form() -> None:
    assert is_dali_index(BY_HAND)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"my own notes\n",
        b"v1.1 1\njpg 512 631\n",
        BY_HAND.replace(b"v1.2 2", b"v1.2 3"),
        BY_HAND.replace(b"000001.jpg", b"my cat.jpg"),
        BY_HAND[:-1],
        BY_HAND + b"more\n",
    ],
)
def test_what_is_not_one_is_somebody_elses(data: bytes) -> None:
    assert not is_dali_index(data)
