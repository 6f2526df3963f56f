"""Writes one shard: a stream of samples becomes a tar and the Parquet that describes it.

One loop feeds both files, so they cannot disagree; nothing is held but the sample at hand and the
Parquet's columns.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, NamedTuple, cast

import pyarrow as pa

from beam_export import naming
from beam_export._version import __version__
from beam_export.errors import InputError, SampleError
from beam_export.samples import EncodedImage, Failure, SampleRef
from beam_export.shards.parquet import Row, ShardTable
from beam_export.shards.tar import TarWriter
from beam_export.text import printable

__all__ = [
    "REMARKS",
    "HashingFile",
    "ReadySample",
    "ShardResult",
    "check_names",
    "failures_from_json",
    "remarks_from_json",
    "write_shard",
]

#: Key in a shard's Parquet; missing where there are none.
REMARKS = "beam_export.remarks"


class ReadySample(NamedTuple):
    """A sample as it will be stored, with all its bytes.

    Attributes:
        ref: where it came from.
        key: its key in the tar.
        image: the image.
        source_sha256: hex, of the image's bytes as they came, to the first export if there were
            several; None for an array.
        fields: (extension, bytes) of the other members, by extension.
        sha256: hex, of the image's bytes as they will be stored, if it is known.
    """

    ref: SampleRef
    key: str
    image: EncodedImage
    source_sha256: str | None
    fields: list[tuple[str, bytes]]
    sha256: str | None = None


class ShardResult(NamedTuple):
    """The outcome of one shard; small, as the manifest is made of all of them at once.

    Attributes:
        number: the shard's number.
        samples, copied, encoded: samples in it; `copied + encoded == samples`.
        bytes, parquet_bytes: sizes of the two files.
        tar_sha256, parquet_sha256: hex.
        plan: hex digest of what the shard was to hold.
        failures: samples that were planned and are not in it.
        kept: whether an earlier attempt had finished it.
        device: what encoded it: `cpu`, or the model of the GPU, known only to its worker.
        remarks: (remark, count of samples with it) of `EncodedImage.remarks`, sorted.
    """

    number: int
    samples: int
    copied: int
    encoded: int
    bytes: int
    parquet_bytes: int
    tar_sha256: str
    parquet_sha256: str
    plan: str
    failures: tuple[Failure, ...]
    kept: bool = False
    device: str = "cpu"
    remarks: tuple[tuple[str, int], ...] = ()


class HashingFile:
    """A file object for writing that computes SHA-256 and size of what is written."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Writes all of `data`."""
        self._hash.update(data)
        self._target.write(data)
        # `len` of a buffer counts items, which may be larger than a byte.
        size = memoryview(data).nbytes
        self.size += size
        return size

    def tell(self) -> int:
        """Returns how much was written."""
        return self.size

    def flush(self) -> None:
        """Flushes the file underneath."""
        self._target.flush()

    @property
    def closed(self) -> bool:
        """Always False: the file underneath is closed by the code that opened it."""
        return False

    def hexdigest(self) -> str:
        """Returns the SHA-256 of all that was written."""
        return self._hash.hexdigest()


class _Members:
    """Writes samples one by one: their members to the tar, a row each to the table."""

    def __init__(self, tar: TarWriter, table: ShardTable, tar_file: str) -> None:
        self._tar, self._table, self._tar_file = tar, table, tar_file
        self.copied = self.encoded = 0
        self._remarks: collections.Counter[str] = collections.Counter()

    @property
    def remarks(self) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(self._remarks.items()))

    def add(self, sample: ReadySample) -> None:
        ref, image = sample.ref, sample.image
        name = naming.member_name(sample.key, image.ext)
        offset = self._tar.add(name, image.data)
        for ext, data in sample.fields:
            self._tar.add(naming.member_name(sample.key, ext), data)
        copied = image.encoding == "copied"
        row = Row(
            image_id=printable(ref.id),
            tar_file=self._tar_file,
            member_name=name,
            original_path=printable(ref.path),
            offset=offset,
            size=len(image.data),
            width=image.width,
            height=image.height,
            sha256=sample.sha256 or hashlib.sha256(image.data).hexdigest(),
            source_sha256=sample.source_sha256,
            encoding=image.encoding,
            metadata=ref.metadata,
        )
        with _misfits_as_input_errors():
            self._table.append(row)
        self.copied += copied
        self.encoded += not copied
        self._remarks.update(image.remarks)


def check_names(ext: str, ref: SampleRef) -> None:
    """Raises SampleError (`write`) if a field has the name that the image takes in the tar."""
    if any(field.ext == ext for field in ref.fields):
        reason = f"it has a field {ext!r}, the name that its image takes in the tar"
        raise SampleError("write", "ValueError", reason)


def write_shard(
    samples: Iterable[ReadySample | Failure],
    tar_fh: BinaryIO,
    parquet_fh: BinaryIO,
    *,
    number: int,
    names: naming.ShardNames,
    columns: pa.Schema,
    plan: str,
) -> ShardResult:
    """Writes a shard's tar and Parquet to two open files.

    Args:
        samples: the shard's samples in order, and the failures among them.
        tar_fh, parquet_fh: binary files, open for writing; they stay open.
        number: the shard's number.
        names: names of the export's files.
        columns: metadata columns of the dataset.
        plan: hex digest of what the shard is to hold.

    Raises:
        InputError: if a value does not fit its column.
    """
    tar_out, parquet_out = HashingFile(tar_fh), HashingFile(parquet_fh)
    tar, table = TarWriter(tar_out), ShardTable(cast(BinaryIO, parquet_out), columns)
    members = _Members(tar, table, names.tar(number))
    failures: list[Failure] = []
    for sample in samples:
        if isinstance(sample, Failure):
            failures.append(sample)
        else:
            members.add(sample)
    # The tar ends first: its digest and its size are facts of the Parquet.
    tar.close()
    # They stand in the Parquet, whose bytes must not depend on when each was found.
    failures.sort()
    with _misfits_as_input_errors():
        table.close(_facts(plan=plan, tar=tar_out, failures=failures, remarks=members.remarks))
    return ShardResult(
        number=number,
        samples=members.copied + members.encoded,
        copied=members.copied,
        encoded=members.encoded,
        bytes=tar_out.size,
        parquet_bytes=parquet_out.size,
        tar_sha256=tar_out.hexdigest(),
        parquet_sha256=parquet_out.hexdigest(),
        plan=plan,
        failures=tuple(failures),
        remarks=members.remarks,
    )


@contextlib.contextmanager
def _misfits_as_input_errors() -> Iterator[None]:
    """Raises a value that does not fit its column as an InputError: the column was declared so."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{error}.") from error


def _facts(
    plan: str,
    tar: HashingFile,
    failures: list[Failure],
    remarks: tuple[tuple[str, int], ...],
) -> Mapping[str, str]:
    return {
        "beam_export.version": __version__,
        "beam_export.plan": plan,
        "beam_export.tar_sha256": tar.hexdigest(),
        "beam_export.tar_bytes": str(tar.size),
        "beam_export.failures": json.dumps([one._asdict() for one in failures], sort_keys=True),
        # Left out if there are none, so that such shards have the bytes that they always had.
        **({REMARKS: json.dumps(dict(remarks), sort_keys=True)} if remarks else {}),
    }


def failures_from_json(text: str) -> tuple[Failure, ...]:
    """Returns the failures that a shard's Parquet carries as `beam_export.failures`."""
    return tuple(Failure(**one) for one in json.loads(text))


def remarks_from_json(text: str) -> tuple[tuple[str, int], ...]:
    """Returns the remarks that a shard's Parquet carries as `beam_export.remarks`."""
    return tuple(sorted(json.loads(text).items()))
