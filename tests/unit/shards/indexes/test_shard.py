from __future__ import annotations

import hashlib
import io
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.indexes import BY_HAND, MEMBERS, indexed, members_of, read_dali, read_energon
from support.tars import make_tar

from beam_export.index_kinds import KINDS
from beam_export.naming import ShardNames
from beam_export.shards.indexes.shard import (
    DamagedTarError,
    IndexFile,
    ShardIndexer,
    ShardIndexes,
    index_tar,
)
from beam_export.shards.tar import TarWriter

NAMES = ShardNames("0123456789ab")
WORDS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6)
SAMPLES = st.dictionaries(
    st.lists(WORDS, min_size=1, max_size=3).map("/".join),
    st.dictionaries(
        st.sampled_from(["txt", "cls", "clip.npy", "json"]), st.binary(max_size=1100), max_size=4
    ),
    min_size=1,
    max_size=6,
)


def test_the_files_are_those_of_the_loaders_own_tools() -> None:
    tar, indexer = indexed(*MEMBERS)
    files = indexer.files(NAMES, 3)
    assert set(files) == {"images-0123456789ab-000003.idx", "images-0123456789ab-000003.tar.idx"}
    assert files[NAMES.dali_index(3)] == BY_HAND
    assert read_energon(files[NAMES.energon_index(3)]) == [0, 3584, 4608]
    assert len(tar) == 4608 + 1024


@given(SAMPLES)
def test_any_shard_is_indexed_alike_as_it_is_written_and_as_it_stands(
    samples: dict[str, dict[str, bytes]],
) -> None:
    file, indexer = io.BytesIO(), ShardIndexer(KINDS)
    writer = TarWriter(file)
    for key, fields in samples.items():
        for ext, data in [("jpg", b"x"), *sorted(fields.items())]:
            offset = writer.add(f"{key}.{ext}", data)
            indexer.add(key, ext, offset=offset, size=len(data))
    writer.close()
    tar = file.getvalue()
    assert indexer.md5 is not None
    indexer.md5.update(tar)
    again = index_tar(io.BytesIO(tar), KINDS, sha256=hashlib.sha256(tar).hexdigest())
    assert again.files(NAMES, 0) == indexer.files(NAMES, 0)
    known = indexer.known(NAMES, 0)
    assert again.known(NAMES, 0) == known
    assert known.tar_md5 == hashlib.md5(tar).hexdigest()
    in_all = set.intersection(*(set(fields) for fields in samples.values()))
    assert (known.images, known.fields) == (("jpg",), tuple(sorted(in_all)))
    files = indexer.files(NAMES, 0)
    found = members_of(tar)
    assert read_dali(files[NAMES.dali_index(0)]) == found
    starts = [members[0][1] - 512 for members in found.values()]
    assert read_energon(files[NAMES.energon_index(0)]) == [*starts, len(tar) - 1024]
    assert known.dali == IndexFile(
        len(files[NAMES.dali_index(0)]), hashlib.sha256(files[NAMES.dali_index(0)]).hexdigest()
    )


@pytest.mark.parametrize(
    ("kinds", "files"),
    [(("dali",), ["000000.idx"]), (("energon",), ["000000.tar.idx"]), (("counts", "wids"), [])],
)
def test_a_shard_has_the_files_of_the_kinds_that_are_asked_for(
    kinds: tuple[str, ...], files: list[str]
) -> None:
    _, indexer = indexed(*MEMBERS, kinds=kinds)
    assert [name.partition("ab-")[2] for name in indexer.files(NAMES, 0)] == files
    known = indexer.known(NAMES, 0)
    assert (known.dali is None, known.energon is None, known.tar_md5 is None) == (
        "dali" not in kinds,
        "energon" not in kinds,
        "wids" not in kinds,
    )
    # Coders make plain tuples of it.
    assert ShardIndexes.of((*known[:3], *(one and tuple(one) for one in known[3:5]), known[5])) == (
        known
    )


def test_a_tar_that_is_not_whole_is_not_indexed() -> None:
    tar = make_tar(*MEMBERS)
    sha256 = hashlib.sha256(tar).hexdigest()
    changed = bytearray(tar)
    changed[600] = 1
    wrong = {
        "without the two zero blocks": tar[:-1024],
        "header at byte 3584 is not one of": tar[:3590] + b"\0" + tar[3591:],
        "sha256 is not the one": bytes(changed),
    }
    for reason, data in wrong.items():
        with pytest.raises(DamagedTarError, match=reason):
            index_tar(io.BytesIO(data), ("wids",), sha256=sha256)
    # Without wids, headers alone are read.
    index_tar(io.BytesIO(bytes(changed)), ("dali",), sha256=sha256)
    with pytest.raises(DamagedTarError, match="sha256 is not the one"):
        index_tar(io.BytesIO(bytes(changed)), ("dali",), sha256=sha256, through=True)
