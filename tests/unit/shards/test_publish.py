from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from beam_export.naming import ShardNames
from beam_export.samples import WHOLE, EncodedImage, Failure, Member, SampleRef
from beam_export.shards.output import Output
from beam_export.shards.parquet import read_facts, read_shard_rows
from beam_export.shards.publish import publish_shard
from beam_export.shards.writer import ReadySample, ShardResult

NAMES = ShardNames("0123456789ab")
TAR, PARQUET = NAMES.tar(7), NAMES.parquet(7)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    made = Output(str(tmp_path / "out"), "token")
    made.prepare()
    return made


def samples(count: int, value: int = 1) -> Iterator[ReadySample | Failure]:
    for number in range(count):
        path = f"/in/{number}.jpg"
        member = Member("jpg", path, WHOLE, 5)
        ref = SampleRef(b"%05d" % number, str(number), path, member, (), {}, 5)
        image = EncodedImage(bytes([value]) * 5, "jpg", 4, 3, "copied")
        yield ReadySample(ref, str(number), image, None, [])


def publish(given: Iterator[ReadySample | Failure], output: Output) -> ShardResult:
    return publish_shard(
        given, output, number=7, names=NAMES, columns=pa.schema([]), plan="ab" * 32
    )


def test_both_files_stand_and_are_what_the_result_says(output: Output) -> None:
    result = publish(samples(3), output)
    folder = Path(output.directory)
    tar, table = (folder / TAR).read_bytes(), (folder / PARQUET).read_bytes()
    assert (result.samples, result.bytes, result.parquet_bytes) == (3, len(tar), len(table))
    assert result.tar_sha256 == hashlib.sha256(tar).hexdigest()
    assert result.parquet_sha256 == hashlib.sha256(table).hexdigest()
    with output.read(PARQUET) as source:
        assert [row.image_id for row in read_shard_rows(source)] == ["0", "1", "2"]
    with output.read(PARQUET) as source:
        assert read_facts(source)["beam_export.plan"] == "ab" * 32
    assert output.recorded_tars() == set()


def test_a_shard_of_failures_alone_is_never_written_and_what_stands_there_stays(
    output: Output,
) -> None:
    failures = [Failure(str(n), f"/in/{n}.jpg", "decode", "ValueError", "no image") for n in (1, 2)]
    result = publish(iter(failures), output)
    assert (result.samples, result.bytes, result.failures) == (0, 0, tuple(failures))
    assert not list(Path(output.directory).glob("images-*"))
    publish(samples(3), output)
    before = {path: path.read_bytes() for path in Path(output.directory).glob("images-*")}
    assert publish(iter(failures), output).samples == 0
    assert {path: path.read_bytes() for path in Path(output.directory).glob("images-*")} == before


def test_an_error_among_the_samples_leaves_no_file(output: Output) -> None:
    def broken() -> Iterator[ReadySample | Failure]:
        yield from samples(2)
        raise OSError("the disk is away")

    with pytest.raises(OSError, match="the disk is away"):
        publish(broken(), output)
    assert not list(Path(output.directory).glob("images-*"))


def test_another_shard_takes_the_place_and_the_manifest_goes(output: Output) -> None:
    first = publish(samples(3), output)
    output.put(NAMES.manifest, b"{}")
    second = publish(samples(3, value=2), output)
    assert second.tar_sha256 != first.tar_sha256
    folder = Path(output.directory)
    assert hashlib.sha256((folder / TAR).read_bytes()).hexdigest() == second.tar_sha256
    assert not (folder / NAMES.manifest).exists()


def test_the_same_shard_again_leaves_the_manifest(output: Output) -> None:
    first = publish(samples(3), output)
    output.put(NAMES.manifest, b"{}")
    assert publish(samples(3), output) == first
    assert (Path(output.directory) / NAMES.manifest).exists()


def test_indexes_stand_before_the_parquet_does(output: Output) -> None:
    result = publish_shard(
        samples(3),
        output,
        number=7,
        names=NAMES,
        columns=pa.schema([]),
        plan="ab" * 32,
        indexes=("dali", "energon"),
    )
    folder = Path(output.directory)
    dali, energon = (folder / name for name in (NAMES.dali_index(7), NAMES.energon_index(7)))
    assert dali.read_text().startswith("v1.2 3\njpg 512 5 0.jpg\n")
    assert result.indexes is not None
    for file, path in ((result.indexes.dali, dali), (result.indexes.energon, energon)):
        data = path.read_bytes()
        assert file == (len(data), hashlib.sha256(data).hexdigest())
    times = [path.stat().st_mtime_ns for path in (energon, folder / PARQUET)]
    assert times == sorted(times)
