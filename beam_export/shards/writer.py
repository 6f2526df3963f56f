"""Writes one shard: a stream of samples becomes a tar and the Parquet that describes it.

One loop feeds both files, so they cannot disagree; nothing is held but the sample at hand and the
Parquet's columns.
"""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Collection, Iterable
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from beam_export import naming
from beam_export._version import __version__
from beam_export.errors import InputError, SampleError
from beam_export.samples import EncodedImage, Failure, SampleRef
from beam_export.shards.indexes.shard import ShardIndexer, ShardIndexes
from beam_export.shards.indexes.table import IndexedShard
from beam_export.shards.json_member import JSON_MEMBER
from beam_export.shards.npy_types import array_remark, has_arrays
from beam_export.shards.parquet import ShardRow, ShardTable
from beam_export.shards.tar import TarWriter
from beam_export.shards.undecodable import TXT, cannot_decode

__all__ = [
    "MENDED",
    "REMARKS",
    "TEXTS",
    "HashingFile",
    "ReadySample",
    "ShardResult",
    "check_names",
    "failures_from_json",
    "few_exts",
    "indexed_shards",
    "remarks_from_json",
    "write_shard",
]

#: Key in a shard's Parquet; missing where there are none.
REMARKS = "beam_export.remarks"
#: The remark on samples whose `.txt` is not UTF-8.
TEXTS = "texts_not_utf8"
#: The remark on samples with text that is no Unicode, of which `text.stored` is kept.
MENDED = "text_not_unicode"
#: Extensions that are held for a shard.
_MOST_EXTS = 1_000


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
        remarks: (remark, count of samples with it) of `EncodedImage.remarks`, and of members.
        indexes: what those of the dataset are made of; None if it has none.
        lacks: likewise of `EncodedImage.lacks`, and of members (`cannot_decode`); not known of a
            shard that was finished before.
        members: packed `MemberSets` of its samples, as they came.
        image_exts: extensions of its images, sorted.
        field_exts: of the other members of its samples, sorted; of a shard that was finished
            before, as they came. None if there are too many.
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
    indexes: ShardIndexes | None = None
    lacks: tuple[tuple[str, int], ...] = ()
    members: tuple[Any, ...] = ()
    image_exts: tuple[str, ...] = ()
    field_exts: tuple[str, ...] | None = ()

    @classmethod
    def of(cls, packed: tuple[Any, ...]) -> ShardResult:
        """Returns one from the plain tuples that coders make of it."""
        result = cls(*packed)
        indexes = result.indexes
        return result._replace(indexes=None if indexes is None else ShardIndexes.of(indexes))


def indexed_shards(results: Iterable[ShardResult]) -> list[IndexedShard]:
    """Returns what is known of shards for indexes; of those that have none, nothing."""
    return [
        IndexedShard(
            number=one.number,
            samples=one.samples,
            bytes=one.bytes,
            tar_sha256=one.tar_sha256,
            indexes=one.indexes,
        )
        for one in results
        if one.indexes is not None
    ]


class HashingFile:
    """A file object for writing that computes SHA-256 and size of what is written."""

    def __init__(self, target: BinaryIO, md5: hashlib._Hash | None = None) -> None:
        """Begins at the start of a file.

        Args:
            target: the file.
            md5: gets all that is written, too.
        """
        self._target, self._md5 = target, md5
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Writes all of `data`."""
        self._hash.update(data)
        if self._md5 is not None:
            self._md5.update(data)
        self._target.write(data)
        # `len` of another buffer counts items, which may be larger than a byte.
        size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
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

    def __init__(
        self, tar: TarWriter, table: ShardTable, tar_file: str, *, indexer: ShardIndexer | None
    ) -> None:
        self._tar, self._table, self._tar_file = tar, table, tar_file
        self._indexer = indexer
        self.copied = self.encoded = 0
        self._remarks: collections.Counter[str] = collections.Counter()
        self._lacks: collections.Counter[str] = collections.Counter()
        self._mended: collections.Counter[str] = collections.Counter()
        self._image_exts: set[str] = set()
        self._field_exts: set[str] = set()

    @property
    def remarks(self) -> tuple[tuple[str, int], ...]:
        return tuple(sorted((self._remarks + self._mended).items()))

    def finish(self) -> None:
        """Converts the rows that the table holds, and remarks on their text."""
        self._mended = collections.Counter({MENDED: len(self._table.mended())})

    @property
    def lacks(self) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(self._lacks.items()))

    @property
    def image_exts(self) -> tuple[str, ...]:
        return tuple(sorted(self._image_exts))

    @property
    def field_exts(self) -> tuple[str, ...] | None:
        return few_exts(self._field_exts)

    def add(self, sample: ReadySample) -> None:
        ref, image = sample.ref, sample.image
        self._image_exts.add(image.ext)
        name = naming.member_name(sample.key, image.ext)
        offset = self._tar.add(name, image.data)
        if self._indexer is not None:
            self._indexer.add(sample.key, image.ext, offset=offset, size=len(image.data))
        for ext, data in sample.fields:
            place = self._tar.add(naming.member_name(sample.key, ext), data)
            if self._indexer is not None:
                self._indexer.add(sample.key, ext, offset=place, size=len(data))
            self._field_exts.add(ext)
            cannot = cannot_decode(ext, data)
            if cannot == TXT:
                self._remarks[TEXTS] += 1
            elif cannot:
                self._lacks[cannot] += 1
            elif has_arrays(ext):
                self._remarks[array_remark(ext, data)] += 1
        row = ShardRow(
            ref.id,
            self._tar_file,
            name,
            ref.path,
            offset,
            len(image.data),
            image.width,
            image.height,
            sample.sha256 or hashlib.sha256(image.data).hexdigest(),
            sample.source_sha256,
            image.encoding,
            ref.metadata,
        )
        try:
            self._table.append(row)
        except ValueError as error:
            raise _misfit(error) from error
        if image.encoding == "copied":
            self.copied += 1
        else:
            self.encoded += 1
        if image.remarks:
            self._remarks.update(image.remarks)
        if image.lacks:
            self._lacks.update(image.lacks)


def few_exts(exts: Collection[str]) -> tuple[str, ...] | None:
    """Returns extensions sorted; None if there are too many to be held for every shard."""
    return tuple(sorted(exts)) if len(exts) <= _MOST_EXTS else None


def check_names(ext: str, ref: SampleRef) -> None:
    """Raises SampleError (`write`) if a field has the name that the image takes in the tar."""
    if ref.fields and any(field.ext == ext for field in ref.fields):
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
    indexer: ShardIndexer | None = None,
    json_member: str = "",
) -> ShardResult:
    """Writes a shard's tar and Parquet to two open files.

    Args:
        samples: the shard's samples in order, and the failures among them.
        tar_fh, parquet_fh: binary files, open for writing; they stay open.
        number: the shard's number.
        names: names of the export's files.
        columns: metadata columns of the dataset.
        plan: hex digest of what the shard is to hold.
        indexer: gets all members; None if there are no indexes.
        json_member: extension of the members that were made of columns; empty if none were.

    Raises:
        InputError: if a value does not fit its column.
    """
    tar_out = HashingFile(tar_fh, indexer.md5 if indexer is not None else None)
    parquet_out = HashingFile(parquet_fh)
    tar, table = TarWriter(tar_out), ShardTable(cast(BinaryIO, parquet_out), columns)
    members = _Members(tar, table, names.tar(number), indexer=indexer)
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
    try:
        members.finish()
        facts = _facts(plan=plan, tar=tar_out, failures=failures, remarks=members.remarks)
        if json_member:
            facts[JSON_MEMBER] = json_member
        table.close(facts)
    except ValueError as error:
        raise _misfit(error) from error
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
        indexes=indexer.known(names, number) if indexer is not None else None,
        lacks=members.lacks,
        image_exts=members.image_exts,
        field_exts=members.field_exts,
    )


def _misfit(error: ValueError) -> InputError:
    """Returns the error of a value that does not fit its column, since the column was declared."""
    return InputError(f"{error}.")


def _facts(
    plan: str,
    tar: HashingFile,
    failures: list[Failure],
    remarks: tuple[tuple[str, int], ...],
) -> dict[str, str]:
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
