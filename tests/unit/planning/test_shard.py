from __future__ import annotations

import os
from typing import Any

import pytest

from beam_export.naming import key_of, sequential_key
from beam_export.planning.blocks import PackedRef, pack_block, pack_ref
from beam_export.planning.plan import digest_sum
from beam_export.planning.shard import (
    MARK_SIZE,
    TWIN_SIZE,
    keyed_refs,
    shard_digest,
    spilled_content,
    weigh,
)
from beam_export.samples import WHOLE, Member, SampleRef


def ref(number: int, uri: str = "") -> SampleRef:
    path = uri or f"/in/{number}.jpg"
    return SampleRef(
        b"%05d" % number, f"d/{number}", path, Member("jpg", path, WHOLE, 9), (), {}, 9
    )


def packed(number: int) -> PackedRef:
    return pack_ref(ref(number))


def test_blocks_weigh_the_same_however_they_are_cut() -> None:
    refs = [packed(number) for number in range(7)]
    whole = weigh([pack_block(refs)])
    assert whole == (7, digest_sum(one.digest for one in refs))
    assert weigh([pack_block(refs[4:]), pack_block(refs[:4])]) == whole
    assert weigh([]) == (0, 0)


def test_keys_are_made_of_ids() -> None:
    pairs = list(keyed_refs(map(packed, range(3)), start=5, renamed={}, sequential=False))
    assert pairs == [(ref(number), key_of(f"d/{number}")) for number in range(3)]


def test_keys_are_made_of_ranks() -> None:
    pairs = keyed_refs(map(packed, range(3)), start=5, renamed={}, sequential=True)
    assert [key for _, key in pairs] == [sequential_key(rank) for rank in (5, 6, 7)]


def test_renamed_samples_have_keys_of_their_new_ids() -> None:
    renamed = {b"00001": "d/0-1"}
    pairs = list(keyed_refs(map(packed, range(3)), start=0, renamed=renamed, sequential=False))
    assert [one.id for one, _ in pairs] == ["d/0", "d/0-1", "d/2"]
    assert [key for _, key in pairs] == [key_of(one.id) for one, _ in pairs]


GIVEN: dict[str, Any] = {"identity": {"encoder": "a"}, "options": b"o", "content": b"c"}


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ((1, 3, 7), {}),
        ((0, 4, 7), {}),
        ((0, 3, 8), {}),
        ((0, 3, 7), {"identity": {"encoder": "b"}}),
        ((0, 3, 7), {"options": b"p"}),
        ((0, 3, 7), {"content": b"d"}),
    ],
)
def test_the_digest_of_a_shard_changes_with_each_thing(
    place: tuple[int, int, int], change: dict[str, Any]
) -> None:
    plain = shard_digest(0, 3, 7, **GIVEN)
    assert len(plain) == 64
    assert shard_digest(0, 3, 7, **GIVEN) == plain
    assert shard_digest(*place, **{**GIVEN, **change}) != plain


def test_only_spilled_samples_have_content_that_a_later_run_compares() -> None:
    def spilled(number: int, mark: bytes) -> PackedRef:
        one = pack_ref(ref(number, f"/out/_tmp/t/spill-{number}"))
        return one._replace(order=one.order + mark + os.urandom(TWIN_SIZE))

    marks = [bytes([number]) * MARK_SIZE for number in range(2)]
    refs = [spilled(0, marks[0]), packed(1), spilled(2, marks[1])]
    blocks = [pack_block(refs[1:]), pack_block(refs[:1])]
    assert spilled_content(blocks, "/out/_tmp/t") == b"".join(marks)
    assert spilled_content(blocks, "/out/_tmp/other") == b""
    # A path that merely begins alike is none of the workspace.
    assert spilled_content([pack_block([pack_ref(ref(3, "/out/_tmp/tt/x"))])], "/out/_tmp/t") == b""
