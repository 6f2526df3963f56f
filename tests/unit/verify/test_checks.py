"""The checks of `verify` by themselves: sealed JSON, tars byte by byte, names, foreign shards."""

from __future__ import annotations

import io
import json
import random
import tarfile
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import SHARED, picture

from beam_export.naming import ShardNames
from beam_export.shards.manifest import SealError, seal, unseal
from beam_export.shards.tar import TarWriter
from beam_export.verify.against_input import (
    Proof,
    Rank,
    Rules,
    Span,
    Values,
    differences,
    hold_shard,
    hold_spans,
    image_of,
    members_of,
    rules_of,
)
from beam_export.verify.findings import Fault, Faults
from beam_export.verify.foreign import ForeignShard, check_foreign, find_foreign
from beam_export.verify.members import ImageCheck, Origin
from beam_export.verify.shard_tar import StrictTar
from beam_export.verify.unique_names import Claim, Left, Tally, pack, settle, tally, unpack

# Sealed JSON.

CONTENT: dict[str, Any] = {"b": [1, 2.5, None, "é\ud800"], "a": {"z": True, "y": ""}}


def test_sealed_content_comes_back() -> None:
    assert unseal(seal(CONTENT)) == CONTENT


@given(st.data())
def test_any_changed_byte_of_a_sealed_file_is_seen(data: st.DataObject) -> None:
    sealed = bytearray(seal(CONTENT))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealError):
        unseal(bytes(sealed))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"1", b"[" * 100_000, b'{"sha256": 1}', b"{}", seal({})[:-1], seal({}) + b"\n"],
)
def test_what_was_not_sealed_is_refused(data: bytes) -> None:
    with pytest.raises(SealError):
        unseal(data)


# Tars.


def make_tar(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    writer = TarWriter(file)
    for name, data in members:
        writer.add(name, data)
    writer.close()
    return file.getvalue()


TAR = make_tar(("a.jpg", b"x" * 700), ("a.txt", b"words"), ("b/c.jpg", b""), ("d.jpg", b"y" * 512))


def faults_of(data: bytes) -> list[str]:
    faults = Faults()
    list(StrictTar(io.BytesIO(data), "t.tar", faults).samples())
    return [fault.problem for fault in faults.all()]


def test_a_tar_of_ours_is_sound() -> None:
    faults = Faults()
    tar = StrictTar(io.BytesIO(TAR), "t.tar", faults, wants=lambda name, size: name == "d.jpg")
    samples = list(tar.samples())
    assert faults.all() == []
    assert [sample.key for sample in samples] == ["a", "b/c", "d"]
    assert [member.name for member in samples[0].members] == ["a.jpg", "a.txt"]
    assert (samples[0].members[0].offset, samples[0].members[0].size) == (512, 700)
    assert [member.data for member in samples[2].members] == [b"y" * 512]
    assert samples[0].members[0].data is None
    assert tar.size == len(TAR)


def test_every_byte_outside_the_data_is_held() -> None:
    inside = {*range(512, 512 + 700), *range(2048, 2048 + 5), *range(3584, 3584 + 512)}
    dice = random.Random(0)
    for place in range(len(TAR)):
        if place not in inside:
            data = bytearray(TAR)
            data[place] ^= 1 << dice.randrange(8)
            assert faults_of(bytes(data)), place


@pytest.mark.parametrize("size", [0, 1, 512, 600, 1024, len(TAR) - 1024, len(TAR) - 512])
def test_a_tar_that_ends_early_is_seen(size: int) -> None:
    assert faults_of(TAR[:size])


@pytest.mark.parametrize("more", [b"\0", bytes(512), TAR])
def test_what_lies_behind_the_end_is_seen(more: bytes) -> None:
    assert "lie behind its end" in faults_of(TAR + more)[0]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.jpg", "b.jpg", "a.txt"], "not adjacent"),
        (["a.jpg", "a.txt", "a.json"], "not sorted"),
        (["a.jpg", "a.jpg"], "comes twice"),
    ],
)
def test_order_of_members(names: list[str], words: str) -> None:
    assert words in faults_of(make_tar(*[(name, b"") for name in names]))[0]


def test_names_that_the_dialect_lacks() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("../a.jpg", "_b.jpg", "UPPER.JPG"):
            tar.addfile(tarfile.TarInfo(name))
    found = faults_of(file.getvalue())
    assert sum("a name that no member may have" in one for one in found) == 3


def test_a_file_full_of_faults_is_cut_short() -> None:
    faults = Faults()
    for number in range(1000):
        faults.add("f", f"fault {number}")
    assert len(faults.all()) == 101
    assert faults.all()[-1].problem == "fault 99" or "more faults" in str(faults.all())


def test_a_fault_is_one_line() -> None:
    assert "\n" not in Fault("a.tar", "b\nc", "wrong\nin two", "mend it").line()


# Names.


def test_equal_ids_and_keys_are_found_wherever_they_stand() -> None:
    claims = [
        Claim("id", "a", "1.parquet"),
        Claim("key", "a", "1.tar"),
        Claim("id", "a", "2.parquet"),
        Claim("failed", "b", "1.parquet"),
        Claim("id", "b", "3.parquet"),
    ]
    faults, left, _ = settle(claims, None)
    assert [(fault.file, fault.member) for fault in faults] == [
        ("2.parquet", "a"),
        ("3.parquet", "b"),
    ]
    assert left == []


RULES = Rules(columns=("score", "tag"))


def settle_both(*claims: Claim) -> tuple[list[Fault], list[Left]]:
    return settle(claims, RULES)[:2]


def tallied(left: list[Left], renamed: bool) -> Tally:
    return tally(left, renamed, RULES)[0]


def test_each_sample_of_the_input_has_a_counterpart() -> None:
    faults, left = settle_both(
        Claim("input", "a", "", "1"),
        Claim("id", "a", "p", "1"),
        Claim("input", "b", ""),
        Claim("listed", "b", "f"),
        Claim("input", "gone", "", "2"),
        Claim("id", "new", "p", "3"),
    )
    assert faults == []
    assert sorted(left) == [Left("extra", "new", "3", "p"), Left("missing", "gone", "2")]
    assert tallied(left, renamed=False) == Tally(1, 1, ("gone",), ("new",))


def test_an_image_with_other_bytes_is_found() -> None:
    faults, left = settle_both(Claim("input", "a", "", "1"), Claim("id", "a", "p", "2"))
    assert [(one.file, one.member) for one in faults] == [("p", "a")]
    assert left == []


def test_renamed_samples_are_found_by_their_bytes() -> None:
    faults, left = [], []
    for group in (
        [
            Claim("input", "a", "", "1"),
            Claim("input", "a", "", "2"),
            Claim("input", "a", ""),
            Claim("id", "a", "p", "2"),
        ],
        [Claim("id", "a-1", "p", "1")],
        [Claim("listed", "a-2", "f")],
    ):
        wrong, unmatched = settle_both(*group)
        faults += wrong
        left += unmatched
    assert faults == []
    assert tallied(left, renamed=True) == Tally()
    assert tallied(left, renamed=False).missing == 2


def test_failures_leave_the_choice_to_those_that_have_bytes() -> None:
    """Of three with one id the first has failed; it kept the id, and the others were renamed."""
    inputs = [Claim("input", "a", "", sha256) for sha256 in "123"]
    _, left = settle_both(*inputs, Claim("listed", "a", "f"))
    left += (
        settle_both(Claim("id", "a-1", "p", "1"))[1] + settle_both(Claim("id", "a-2", "p", "3"))[1]
    )
    assert tallied(left, renamed=True) == Tally()


# What the input proves.


def proof(**given: Any) -> Proof:
    columns = pa.schema([("score", pa.float64()), ("tag", pa.string())])
    values = Values(columns, RULES)
    metadata = {"score": 0.5, "tag": None, **given.pop("metadata", {})}
    members = members_of({"txt": "a" * 64, "json": "b" * 64, **given.pop("members", {})}.items())
    made = given.pop("columns", values.of_row(metadata))
    return Proof(members=members, columns=made, **given)


def given_columns(**metadata: Any) -> str:
    columns = pa.schema([("score", pa.float64()), ("tag", pa.string())])
    return Values(columns, RULES).of_input([metadata])[0]


def test_a_row_that_is_what_its_sample_makes_of_it() -> None:
    assert list(differences(proof(), proof(columns=given_columns(score=0.5)), RULES)) == []
    # As the column stores it: 1 among floats, nothing for an empty mapping.
    whole = proof(metadata={"score": 1.0})
    assert list(differences(whole, proof(columns=given_columns(score=1, tag={})), RULES)) == []
    joined = RULES._replace(joined=True)
    named = proof(metadata={"tag": "of a table"})
    assert list(differences(named, proof(columns=given_columns(score=0.5)), joined)) == []
    # An image that was not encoded again proves nothing.
    assert list(differences(proof(image="1"), proof(), RULES)) == []


@pytest.mark.parametrize(
    ("row", "given", "words", "of_tar"),
    [
        (proof(metadata={"score": 0.25}), proof(), "column 'score' is not what", False),
        (proof(metadata={"tag": "x"}), proof(), "column 'tag' is not what", False),
        (proof(metadata={"tag": "x"}), proof(columns=given_columns(score=0.5)), "'tag'", False),
        (proof(), proof(columns=given_columns(score="high")), "column 'score' is not", False),
        (proof(members={"txt": "c" * 64}), proof(), "its .txt is not the one", True),
        (proof(members={"cls": "c" * 64}), proof(), "it has a member .cls", True),
        (proof(), proof(members={"seg.png": "c" * 64}), "it lacks the member .seg.png", True),
        (proof(image="1 a"), proof(image="2 a"), "its image is not what the input's", True),
        (
            proof(image=image_of("1", "copied", 3, 4)),
            proof(image=image_of("1", "encoded", 3, 4)),
            "its image is 'encoded, 3 x 4', and the row says otherwise",
            False,
        ),
    ],
)
def test_a_row_that_is_not(row: Proof, given: Proof, words: str, of_tar: bool) -> None:
    ((problem, tar),) = differences(row, given, RULES)
    assert words in problem
    assert tar is of_tar


def test_of_samples_with_one_id_and_the_same_bytes_the_better_fits() -> None:
    first = Claim("input", "a", "", "1", proof(order="01", members={"txt": "c" * 64}))
    second = Claim("input", "a", "", "1", proof(order="02"))
    row = Claim("id", "a", "x.parquet", "1", proof(shard=0, row=4))
    found = settle([first, second, row], RULES)
    assert found.faults == []
    # Which of the two it was nobody can tell for sure: its place proves nothing.
    assert found.ranks == []
    (fault,) = settle([first, row], RULES).faults
    assert (fault.file, fault.member) == ("x.tar", "a")
    assert settle([second, row], RULES).ranks == [Rank(0, 4, "02", "a")]


def test_what_an_export_has_made_needs_no_counterpart() -> None:
    manifest = {"options": {"caption_column": "tag"}, "steps": [{"step": "join"}]}
    rules = rules_of(manifest, ["score", "tag"], Origin())
    assert rules == Rules(("score", "tag"), True, frozenset({"txt"}))
    assert not rules_of({**manifest, "options": {"split": "a=1"}}, [], Origin()).ordered
    assert rules_of(None, ["score"], Origin()).columns == ()


def test_order() -> None:
    names = ShardNames("0123456789ab")
    ranks = [Rank(1, 0, "10", "a"), Rank(1, 1, "12", "b"), Rank(1, 3, "15", "c")]
    assert hold_shard(reversed(ranks), names) == (Span(1, "10", "15"), [])
    swapped = [ranks[0]._replace(key="15"), ranks[1], ranks[2]._replace(key="10")]
    span, faults = hold_shard(swapped, names)
    assert span == Span(1, "10", "15")
    assert [fault.member for fault in faults] == ["a", "c"]
    assert hold_spans([Span(1, "10", "15"), Span(0, "01", "0f")], names) == []
    (fault,) = hold_spans([Span(0, "10", "15"), Span(1, "01", "0f")], names)
    assert fault.file == names.parquet(1)


def test_claims_are_packed() -> None:
    claims = [Claim("id", "\ud800é", "f"), Claim("key", "", "g", "1", Proof("ab", 1, 2, "c"))]
    assert [Claim(*one) for one in unpack(pack(claims))] == claims


# Foreign shards.


def foreign(data: bytes, table: bytes | None = None, stats: bytes | None = None) -> list[str]:
    shard = ForeignShard("s", "s.tar", "s.parquet" if table else "", "s_stats.json")
    checked = check_foreign(shard, io.BytesIO(data), table, stats, ImageCheck(10**6, 10**6))
    return [fault.line() for fault in checked.faults]


def test_a_foreign_tar_is_read_to_its_end() -> None:
    data = make_tar(("a.jpg", picture(1)), ("b.jpg", picture(2)))
    assert foreign(data) == []
    assert "without the zero blocks" in foreign(data[:-1024])[0]
    assert any("ends within" in line for line in foreign(data[:900]))
    assert any("cannot be decoded" in line for line in foreign(make_tar(("a.jpg", b"no"))))


def test_counts_of_img2dataset() -> None:
    data = make_tar(("a.jpg", picture(1)))
    assert foreign(data, stats=json.dumps({"successes": 1, "count": 1}).encode()) == []
    assert "2 successes" in foreign(data, stats=b'{"successes": 2, "count": 2}')[0]
    assert "not what img2dataset writes" in foreign(data, stats=b"[]")[0]


def test_files_of_one_stem_are_a_shard() -> None:
    found = find_foreign(["a.tar", "a.parquet", "a_stats.json", "b.tar.gz", "c.parquet", "d.txt"])
    assert found == [
        ForeignShard("a", "a.tar", "a.parquet", "a_stats.json"),
        ForeignShard("b", "b.tar.gz", "", ""),
        ForeignShard("c", "", "c.parquet", ""),
    ]


@pytest.mark.parametrize(
    "folder", ["img2dataset/webdataset", "img2dataset/parquet", "nemo-curator"]
)
def test_exports_of_others(folder: str) -> None:
    place = SHARED / "data" / folder
    if not place.is_dir():
        pytest.skip(f"no {place}: exports of other tools are not part of the repository")
    for shard in find_foreign([path.name for path in place.iterdir()]):
        table = (place / shard.parquet).read_bytes()
        stats = (place / shard.stats).read_bytes() if shard.stats else None
        tar = io.BytesIO((place / shard.tar).read_bytes()) if shard.tar else None
        assert check_foreign(shard, tar, table, stats).faults == []
        if tar is not None:
            # The last sample is lost with its member, and its row remains.
            short = io.BytesIO(tar.getvalue()[: len(tar.getvalue()) // 2])
            assert check_foreign(shard, short, table, stats).faults != []
