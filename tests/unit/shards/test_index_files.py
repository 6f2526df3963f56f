from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.indexes import BY_HAND, MEMBERS, indexed
from support.tars import make_tar

from beam_export.errors import InputError, RunError
from beam_export.index_kinds import KINDS
from beam_export.naming import ShardNames
from beam_export.shards.index_files import (
    find_kinds,
    index_finished_shard,
    known_indexes,
    refuse_strangers,
)
from beam_export.shards.indexes.energon import FOLDER
from beam_export.shards.indexes.table import IndexedShard, indexes_table
from beam_export.shards.output import Output

NAMES = ShardNames("0123456789ab")
TAR = make_tar(*MEMBERS)
SHA256 = hashlib.sha256(TAR).hexdigest()
KNOWN = SHA256, indexed(*MEMBERS)[1].known(NAMES, 0)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """An output with the tar of one shard."""
    made = Output(str(tmp_path / "out"), "0123456789abcdef" * 2)
    made.prepare()
    put(made, NAMES.tar(0), TAR)
    return made


def put(output: Output, name: str, content: bytes) -> None:
    path = Path(output.path(name))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def index(output: Output, known: object = None, kinds: tuple[str, ...] = KINDS) -> int:
    """Indexes the shard, and returns how many files were written."""
    found, written = index_finished_shard(
        output,
        NAMES,
        0,
        tar_sha256=SHA256,
        kinds=kinds,
        known=known,  # type: ignore[arg-type]
    )
    assert found == KNOWN[1]._replace(
        kinds=kinds,
        dali=KNOWN[1].dali if "dali" in kinds else None,
        energon=KNOWN[1].energon if "energon" in kinds else None,
        tar_md5=KNOWN[1].tar_md5 if "wids" in kinds else None,
    )
    return written


def test_a_finished_shard_gets_its_indexes_once(output: Output) -> None:
    assert index(output) == 2
    with output.read(NAMES.dali_index(0)) as source:
        assert source.read() == BY_HAND
    assert index(output) == 0


def test_a_tar_whose_indexes_are_listed_is_not_read_again(output: Output) -> None:
    index(output)
    Path(output.path(NAMES.tar(0))).unlink()
    assert index(output, KNOWN) == 0


def test_what_the_list_does_not_vouch_for_is_made_of_the_tar(output: Output) -> None:
    index(output)
    put(output, NAMES.dali_index(0), BY_HAND.replace(b"631", b"632"))
    assert index(output, KNOWN) == 1
    Path(output.path(NAMES.energon_index(0))).unlink()
    assert index(output, KNOWN) == 1
    # Of another tar, whatever stands beside it.
    other = KNOWN[1]._replace(dali=None, energon=None)
    with pytest.raises(FileNotFoundError):
        index_finished_shard(
            output, NAMES, 1, tar_sha256=SHA256, kinds=("counts",), known=("00", other)
        )
    # Or without a digest that wids needs.
    put(output, NAMES.dali_index(0), b"v1.2 0\n")
    assert index(output, ("00", KNOWN[1])) == 1
    assert index(output, (SHA256, KNOWN[1]._replace(tar_md5=None))) == 0


def test_a_damaged_tar_is_one_sentence(output: Output) -> None:
    put(output, NAMES.tar(0), TAR[:-1024])
    with pytest.raises(RunError, match=r"000000.tar cannot be indexed, since it ends without"):
        index(output)


def test_what_stands_there_is_kept_up(output: Output) -> None:
    assert find_kinds(output, NAMES, ()) == ()
    assert find_kinds(output, NAMES, ("dali",)) == ("dali",)
    # Left by a run that was cut short, which has listed nothing.
    put(
        output, NAMES.energon_index(0), indexed(*MEMBERS)[1].files(NAMES, 0)[NAMES.energon_index(0)]
    )
    assert find_kinds(output, NAMES, ("dali",)) == ("dali", "energon")
    # Beside a manifest that lists none, somebody else has made it.
    put(output, NAMES.manifest, b"{}")
    assert find_kinds(output, NAMES, ()) == ()
    shard = IndexedShard(number=0, samples=2, bytes=9, tar_sha256=SHA256, indexes=KNOWN[1])
    put(output, NAMES.indexes, indexes_table([shard], NAMES))
    assert find_kinds(output, NAMES, ()) == KINDS
    assert known_indexes(output, NAMES) == (KINDS, {0: KNOWN})


@pytest.mark.parametrize("data", [b"", b"PAR1", None])
def test_a_damaged_list_is_none(output: Output, data: bytes | None) -> None:
    if data is not None:
        put(output, NAMES.indexes, data)
    assert known_indexes(output, NAMES) == ((), {})


def test_a_file_of_others_in_an_index_place_is_not_one_of_ours(output: Output) -> None:
    put(output, NAMES.dali_index(0), b"my own notes")
    assert find_kinds(output, NAMES, ()) == ()


@pytest.mark.parametrize(
    ("name", "kind"), [("sizes.json", "counts"), (f"{FOLDER}/.info.json", "energon")]
)
def test_strangers_are_refused_where_their_kind_is_written(
    output: Output, name: str, kind: str
) -> None:
    put(output, name, b"{}")
    refuse_strangers(output, {*KINDS} - {kind})
    with pytest.raises(InputError, match=f"holds {name}, where --index is to write: a file"):
        refuse_strangers(output, (kind,))


def test_settings_of_others_stay(output: Output) -> None:
    put(output, f"{FOLDER}/dataset.yaml", b"mine: true\n")
    refuse_strangers(output, KINDS)


def test_a_link_in_the_place_of_a_folder_is_refused(output: Output, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    Path(output.path(FOLDER)).symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match=r"holds .nv-meta, .* a symbolic link that is not"):
        refuse_strangers(output, ("energon",))
