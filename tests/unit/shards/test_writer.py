from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export import __version__
from beam_export.errors import InputError
from beam_export.naming import ShardNames
from beam_export.samples import WHOLE, EncodedImage, Failure, Member, SampleRef
from beam_export.shards.manifest import remarks
from beam_export.shards.parquet import read_facts, read_shard_rows
from beam_export.shards.writer import (
    REMARKS,
    TEXTS,
    HashingFile,
    ReadySample,
    ShardResult,
    failures_from_json,
    remarks_from_json,
    write_shard,
)

NAMES = ShardNames("0123456789ab")
COLUMNS = pa.schema([("score", pa.float64()), ("label", pa.string())])
LOST = [
    Failure("z", "/in/z.jpg", "decode", "ValueError", "no image"),
    Failure("é", '/in/"é\n.jpg', "read", "OSError", "there is none"),
]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sample(
    number: int, size: int = 5, fields: dict[str, bytes] | None = None, **changes: Any
) -> ReadySample:
    """Returns a sample whose image was copied, or encoded if `encoding` says so."""
    data = bytes([number % 256]) * size
    encoding = changes.pop("encoding", "copied")
    source = sha256(data if encoding == "copied" else b"source")
    ref = SampleRef(
        order=b"%05d" % number,
        id=f"d/{number}",
        path=f"/in/d/{number}.jpg",
        image=Member("jpg", f"/in/d/{number}.jpg", WHOLE, size),
        fields=(),
        metadata={"score": number / 2, "label": None},
        size=size,
    )
    image = EncodedImage(data, changes.pop("ext", "jpg"), 640, 480, encoding)
    source_sha256 = changes.pop("source_sha256", source)
    return ReadySample(
        ref._replace(**changes), f"d/{number}", image, source_sha256, list((fields or {}).items())
    )


def written(
    samples: list[ReadySample | Failure], columns: pa.Schema = COLUMNS
) -> tuple[bytes, bytes, ShardResult]:
    """Returns the tar, the Parquet and the result of shard 7."""
    tar, table = io.BytesIO(), io.BytesIO()
    result = write_shard(
        iter(samples), tar, table, number=7, names=NAMES, columns=columns, plan="ab"
    )
    return tar.getvalue(), table.getvalue(), result


sizes = st.integers(0, 1500) | st.sampled_from([511, 512, 513, 65_536, 65_537])
things = st.lists(
    st.builds(
        lambda size, fields, encoding: (size, fields, encoding),
        sizes,
        st.dictionaries(st.sampled_from(["txt", "json", "seg.png"]), st.binary(max_size=600)),
        st.sampled_from(["copied", "encoded"]),
    )
    | st.none(),
    max_size=8,
)


@given(things)
def test_tar_and_parquet_say_the_same(found: list[Any]) -> None:
    samples = [
        LOST[0]
        if thing is None
        else sample(number, thing[0], dict(sorted(thing[1].items())), encoding=thing[2])
        for number, thing in enumerate(found)
    ]
    tar, table, result = written(samples)
    stored = [one for one in samples if isinstance(one, ReadySample)]
    rows = list(read_shard_rows(io.BytesIO(table)))
    assert [row.image_id for row in rows] == [one.ref.id for one in stored]
    for row, one in zip(rows, stored, strict=True):
        assert tar[row.offset : row.offset + row.size] == one.image.data
        assert row.sha256 == sha256(one.image.data)
        assert row.source_sha256 == one.source_sha256
        assert row.encoding == one.image.encoding
        assert row.tar_file == "images-0123456789ab-000007.tar"
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = [(one.name, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]
    assert members == [
        (f"{one.key}.{ext}", data)
        for one in stored
        for ext, data in [(one.image.ext, one.image.data), *one.fields]
    ]
    assert result == ShardResult(
        number=7,
        samples=len(stored),
        copied=sum(one.image.encoding == "copied" for one in stored),
        encoded=sum(one.image.encoding == "encoded" for one in stored),
        bytes=len(tar),
        parquet_bytes=len(table),
        tar_sha256=sha256(tar),
        parquet_sha256=sha256(table),
        plan="ab",
        failures=(LOST[0],) * (len(samples) - len(stored)),
        remarks=result.remarks,
        image_exts=tuple(sorted({one.image.ext for one in stored})),
        field_exts=tuple(sorted({ext for one in stored for ext, _ in one.fields})),
    )


def test_a_row_tells_all_of_a_sample() -> None:
    _, table, _ = written([sample(3, encoding="encoded", ext="png")])
    (row,) = pq.read_table(io.BytesIO(table)).to_pylist()
    assert row == {
        "image_id": "d/3",
        "tar_file": "images-0123456789ab-000007.tar",
        "member_name": "d/3.png",
        "original_path": "/in/d/3.jpg",
        "offset": 512,
        "size": 5,
        "width": 640,
        "height": 480,
        "sha256": sha256(b"\3" * 5),
        "source_sha256": sha256(b"source"),
        "encoding": "encoded",
        "score": 1.5,
        "label": None,
    }


def test_pixels_have_no_source_to_hash() -> None:
    _, table, _ = written([sample(3, encoding="encoded", source_sha256=None)])
    (row,) = read_shard_rows(io.BytesIO(table))
    assert (row.source_sha256, row.sha256) == (None, sha256(b"\3" * 5))
    _, table, _ = written([sample(3, source_sha256=None)])
    (row,) = read_shard_rows(io.BytesIO(table))
    assert row.sha256 == sha256(b"\3" * 5)


def test_facts_are_those_of_the_shard() -> None:
    tar, table, result = written([LOST[1], sample(1), LOST[0]])
    facts = read_facts(io.BytesIO(table))
    failures = facts.pop("beam_export.failures")
    assert facts == {
        "beam_export.version": __version__,
        "beam_export.plan": "ab",
        "beam_export.tar_sha256": sha256(tar),
        "beam_export.tar_bytes": str(len(tar)),
    }
    assert failures_from_json(failures) == result.failures == tuple(sorted(LOST))


def test_facts_of_a_shard_that_has_lost_nothing() -> None:
    _, table, result = written([sample(1)])
    assert json.loads(read_facts(io.BytesIO(table))["beam_export.failures"]) == []
    assert result.failures == failures_from_json("[]") == ()


@given(st.lists(st.builds(Failure, *[st.text(max_size=5)] * 5), max_size=4))
def test_failures_come_back_from_json(failures: list[Failure]) -> None:
    text = json.dumps([one._asdict() for one in failures])
    assert failures_from_json(text) == tuple(failures)


def test_the_same_samples_give_the_same_bytes() -> None:
    samples = [sample(number, number * 7, {"txt": b"x"}) for number in range(50)]
    first = written([*samples, *LOST])
    assert written([*samples, *LOST]) == first
    # Failures have no place in a shard but are listed in an order of their own.
    assert written([LOST[1], *samples, LOST[0]]) == first
    other = written([samples[1], samples[0], *samples[2:], *LOST])
    assert (other[0], other[1]) != (first[0], first[1])


def test_ids_and_paths_that_are_no_unicode() -> None:
    _, table, _ = written([sample(1, id="\udce9", path="/in/\udce9.jpg")])
    (row,) = read_shard_rows(io.BytesIO(table))
    assert (row.image_id, row.original_path) == ("\ufffd", "/in/\ufffd.jpg")


def test_a_value_that_does_not_fit_its_column_is_the_callers_fault() -> None:
    wrong = sample(1, metadata={"score": "high"})
    with pytest.raises(InputError, match="score"):
        written([wrong])
    with pytest.raises(InputError, match="score"):
        written([sample(number) for number in range(2, 1001)] + [wrong])


def test_files_stay_open() -> None:
    tar, table = io.BytesIO(), io.BytesIO()
    write_shard([], tar, table, number=0, names=NAMES, columns=COLUMNS, plan="")
    assert not tar.closed
    assert not table.closed


def test_an_error_among_the_samples_is_not_swallowed() -> None:
    def broken() -> Any:
        yield sample(1)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        write_shard(
            broken(), io.BytesIO(), io.BytesIO(), number=0, names=NAMES, columns=COLUMNS, plan=""
        )


@given(st.lists(st.binary(max_size=20)))
def test_hashing_file(parts: list[bytes]) -> None:
    target = io.BytesIO()
    file = HashingFile(target)
    for part in parts:
        assert file.write(part) == len(part)
        assert file.tell() == file.size == len(target.getvalue())
    file.flush()
    assert target.getvalue() == b"".join(parts)
    assert file.hexdigest() == sha256(b"".join(parts))
    assert not file.closed


def test_hashing_file_counts_bytes_and_not_items() -> None:
    file = HashingFile(io.BytesIO())
    assert file.write(memoryview(bytes(8)).cast("I")) == file.size == 8  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (b"caf\xe9", True),
        ("café".encode("utf-16"), True),
        (b"\xc3", True),
        (b"\x93x\x94", True),
        ("café".encode(), False),
        (b"\xef\xbb\xbfx", False),
        (b"", False),
    ],
)
def test_texts_that_are_not_utf8_are_counted_and_kept(text: bytes, counted: bool) -> None:
    samples = [sample(0, fields={"seg": b"\xff", "txt": text}), sample(1, fields={"txt": b"x"})]
    tar, table, result = written([*samples])
    assert dict(result.remarks) == ({TEXTS: 1} if counted else {})
    facts = read_facts(io.BytesIO(table))
    assert remarks_from_json(facts.get(REMARKS, "{}")) == result.remarks
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert archive.extractfile("d/0.txt").read() == text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("ext", "data", "counted"),
    [
        ("cls", b"cat", {"no_number_cls": 1}),
        ("cls", b"", {"no_number_cls": 1}),
        ("id", b"1.5", {"no_number_id": 1}),
        ("cls", b" 3\n", {}),
        ("label", b"cat", {}),
        ("fine.cls", b"cat", {"no_number_fine.cls": 1}),
        ("cls.txt", b"cat", {}),
        ("text", b"caf\xe9", {"no_text_text": 1}),
        ("long.txt", b"caf\xe9", {"no_text_long.txt": 1}),
    ],
)
def test_members_that_loaders_cannot_decode_are_counted_and_stored_nowhere(
    ext: str, data: bytes, counted: dict[str, int]
) -> None:
    tar, table, result = written([sample(0, fields={ext: data}), sample(1, fields={ext: b"0"})])
    assert dict(result.lacks) == counted
    assert REMARKS not in read_facts(io.BytesIO(table))
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert archive.extractfile(f"d/0.{ext}").read() == data  # type: ignore[union-attr]


def test_what_images_are_not_is_counted_and_stored_nowhere() -> None:
    plain, other = sample(1), sample(2)
    marked = other._replace(image=other.image._replace(lacks=("rgb", "upright")))
    tar, table, result = written([plain, marked, marked._replace(key="d/3")])
    assert result.lacks == (("rgb", 2), ("upright", 2))
    assert (tar, table) == written([plain, other, other._replace(key="d/3")])[:2]


def test_a_remark_says_the_type_of_each_array_and_counts_as_none() -> None:
    samples = [
        sample(number, fields={"clip.npy": npy(np.zeros(number, "float32")), "npy": b"x"})
        for number in range(3)
    ]
    _, table, result = written([*samples])
    assert dict(result.remarks) == {"array/clip.npy=float32,1": 3, "array/npy=?": 3}
    assert remarks_from_json(read_facts(io.BytesIO(table))[REMARKS]) == result.remarks
    assert remarks([result]) == {}


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_too_many_extensions_are_not_held() -> None:
    fields = {f"f{number:04d}": b"" for number in range(1001)}
    assert written([sample(0, fields=fields)])[2].field_exts is None
