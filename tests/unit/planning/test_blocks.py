from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import beam_export.planning.blocks
from beam_export.planning.blocks import (
    is_measured,
    merged,
    open_block,
    pack_block,
    pack_ref,
    pack_sorted,
    sample_digest,
    unpack_ref,
    untyped_metadata,
    with_change,
    with_probed,
)
from beam_export.samples import UNMEASURED, WHOLE, Member, Probed, SampleRef, Stored

PLAIN = SampleRef(
    order=b"\0\1",
    id="cats/1",
    path="/data/cats/1.jpg",
    image=Member("jpg", "/data/cats/1.jpg", WHOLE, 1000),
    fields=(Member("json", "/data/cats/1.json", WHOLE, 20), Member("txt", "/d/1.txt", 512, 5)),
    metadata={"score": 0.5, "label": "cat"},
    size=1000,
)

sizes = st.integers(0, 2**40)
members = st.builds(
    Member,
    st.text(max_size=5),
    st.text(max_size=9),
    st.integers(WHOLE),
    sizes,
    st.none() | st.binary(max_size=5),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
    | st.binary(max_size=9)
    | st.datetimes()
)
columns = st.dictionaries(st.text(max_size=5), scalars | st.lists(scalars, max_size=3), max_size=4)
stored = st.builds(
    Stored, st.just("jpg"), st.none() | sizes, st.none() | sizes, st.just("encoded"), st.none()
)
refs = st.builds(
    SampleRef,
    order=st.binary(max_size=20),
    id=st.text(max_size=20),
    path=st.text(max_size=20),
    image=members,
    fields=st.lists(members, max_size=3).map(tuple),
    metadata=columns,
    size=sizes,
    stored=st.none() | stored,
    probed=st.none() | st.builds(Probed, sizes, sizes, st.just("png")),
    typed=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    joined=st.just(()) | st.just((("t.csv", ("score",)),)),
)


@given(st.lists(refs, max_size=5))
def test_unpack_gives_back_what_was_packed(given_refs: list[SampleRef]) -> None:
    packed = list(open_block(pack_block(map(pack_ref, given_refs))).refs())
    assert [unpack_ref(one) for one in packed] == given_refs
    assert list(open_block(pack_block(packed)).refs()) == packed


@given(refs)
def test_what_was_probed_is_added_and_nothing_else_changes(ref: SampleRef) -> None:
    packed, probed = pack_ref(ref), Probed(3, 4, "jpg")
    found = with_probed(packed, probed)
    assert unpack_ref(found) == ref._replace(probed=probed)
    # The digest too: what a probe finds shapes no byte.
    assert found[:3] == packed[:3]


@given(refs)
def test_types_come_back_too(ref: SampleRef) -> None:
    back = unpack_ref(pack_ref(ref))
    assert isinstance(back.image, Member)
    assert all(isinstance(field, Member) for field in back.fields)
    assert back.stored is None or isinstance(back.stored, Stored)
    assert back.probed is None or isinstance(back.probed, Probed)
    for name, value in ref.metadata.items():
        assert type(back.metadata[name]) is type(value)


def test_untyped_metadata_is_what_no_schema_declares() -> None:
    assert list(untyped_metadata(pack_ref(PLAIN))) == [(PLAIN.metadata, PLAIN.path)]
    typed = PLAIN._replace(typed=("score", "other"))
    assert list(untyped_metadata(pack_ref(typed))) == [({"label": "cat"}, PLAIN.path)]
    joined = typed._replace(joined=(("t.csv", ("label",)),))
    where = "t.csv, the row of 'cats/1'"
    assert list(untyped_metadata(pack_ref(joined))) == [({"label": "cat"}, where)]
    assert sample_digest(joined) == sample_digest(PLAIN)
    # It changes the schema, not the samples.
    assert sample_digest(typed) == sample_digest(PLAIN)


def test_what_planning_needs_stands_outside() -> None:
    packed = pack_ref(PLAIN)
    assert (packed.order, packed.id, packed.digest) == (b"\0\1", "cats/1", sample_digest(PLAIN))


def test_change_reaches_content_and_digest_alone() -> None:
    packed = pack_ref(PLAIN)._replace(order=PLAIN.order + b" and what tells equal ids apart")
    more = unpack_ref(packed)._replace(metadata={"score": 1.0})
    changed = with_change(packed, more)
    assert unpack_ref(changed) == more
    assert (changed.order, changed.id) == (packed.order, packed.id)
    # Not of the order key, whose end may be another on the next run.
    assert packed.order.startswith(PLAIN.order)
    assert changed.digest == sample_digest(PLAIN._replace(metadata={"score": 1.0}))
    assert with_change(changed, unpack_ref(packed)).digest == packed.digest


def test_what_is_made_of_something_is_known_by_its_bytes() -> None:
    made = [PLAIN._replace(fields=(Member("txt", "", WHOLE, 1, data),)) for data in (b"a", b"b")]
    assert len({sample_digest(one) for one in made}) == 2


def test_a_ref_that_is_not_measured_has_no_digest_and_marks_its_block() -> None:
    unknown = pack_ref(PLAIN._replace(size=UNMEASURED))
    assert (unknown.digest, unknown.weight) == (b"", UNMEASURED)
    assert is_measured(pack_block([pack_ref(PLAIN)]))
    assert is_measured(pack_block([]))
    assert not is_measured(pack_block([pack_ref(PLAIN), unknown]))
    assert with_change(unknown, PLAIN) == pack_ref(PLAIN)


def test_blocks_of_nothing() -> None:
    assert list(open_block(pack_block([])).refs()) == []


def test_digest_is_pinned() -> None:
    # The digest is in the names of all shards: a change here gives every dataset another hash.
    assert sample_digest(PLAIN).hex() == (
        "25a5743f555c4676bed8d834b21f7b2dde8b088e8667c18fb7ba23cfd1642006"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"order": b"\0\2"},
        {"id": "cats/2"},
        {"size": 1001},
        {"fields": PLAIN.fields[:1]},
        {"fields": (PLAIN.fields[0], PLAIN.fields[1]._replace(size=6))},
        {"fields": (PLAIN.fields[0], PLAIN.fields[1]._replace(ext="cls"))},
        {"metadata": {"score": 0.5}},
        {"metadata": {"score": 0.25, "label": "cat"}},
        {"metadata": {"score": "0.5", "label": "cat"}},
        {"metadata": {"score": 0.5, "labels": "cat"}},
        {"metadata": {"score": 0.5, "label": b"cat"}},
    ],
)
def test_digest_changes_with(change: dict[str, Any]) -> None:
    assert sample_digest(PLAIN._replace(**change)) != sample_digest(PLAIN)


@pytest.mark.parametrize(
    "change",
    [
        {"path": "gs://elsewhere/1.jpg"},
        {"image": Member("jpg", "gs://elsewhere/1.jpg", 512, 1000)},
        {"fields": tuple(field._replace(uri="gs://e", offset=7) for field in PLAIN.fields)},
        {"metadata": {"label": "cat", "score": 0.5}},
    ],
)
def test_digest_does_not_change_with(change: dict[str, Any]) -> None:
    assert sample_digest(PLAIN._replace(**change)) == sample_digest(PLAIN)


@pytest.mark.parametrize("values", [(1, 1.0, True, "1", b"1"), (None, "", b"", [], {}, 0)])
def test_digest_tells_values_of_different_types_apart(values: tuple[object, ...]) -> None:
    digests = {sample_digest(PLAIN._replace(metadata={"value": value})) for value in values}
    assert len(digests) == len(values)


def test_digest_tells_a_date_from_its_midnight() -> None:
    day = PLAIN._replace(metadata={"t": datetime.date(2024, 5, 1)})
    midnight = PLAIN._replace(metadata={"t": datetime.datetime(2024, 5, 1)})
    assert sample_digest(day) != sample_digest(midnight)


def test_digest_refuses_what_no_column_holds() -> None:
    with pytest.raises(TypeError, match="complex"):
        sample_digest(PLAIN._replace(metadata={"value": 1j}))


@given(st.lists(st.lists(st.binary(max_size=3), max_size=6), max_size=6))
def test_merged_yields_all_refs_in_order(orders: list[list[bytes]]) -> None:
    blocks = [
        pack_block([pack_ref(PLAIN._replace(order=order)) for order in block])
        for block in orders
        if block
    ]
    found = [packed.order for packed in merged(blocks)]
    assert found == sorted(order for block in orders for order in block)


def test_merged_opens_a_block_when_its_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    refs = [pack_ref(PLAIN._replace(order=bytes([0, number]))) for number in range(30)]
    monkeypatch.setattr(beam_export.planning.blocks, "REFS_PER_BLOCK", 10)
    blocks = list(pack_sorted(refs[::-1]))
    assert len(blocks) == 3
    opened: list[bytes] = []
    real = beam_export.planning.blocks.open_block
    monkeypatch.setattr(
        beam_export.planning.blocks, "open_block", lambda block: opened.append(block) or real(block)
    )
    following = merged(blocks[::-1])
    for _ in range(9):
        next(following)
    assert len(opened) == 1
    assert len(list(following)) == 21
