"""The manifest and the tables of a dataset, as files: contents, totals, and a digest of itself.

The manifest and `run.json` are sealed: canonical JSON (sorted keys, two spaces per level, one
newline at the end) whose field `sha256` is the SHA-256 of the same text without that field. It
shows damage, not forgery.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_export.errors import LONGEST_MESSAGE, RunError
from beam_export.images.codecs import is_codec
from beam_export.metadata.schema import STRUCTURAL
from beam_export.naming import ShardNames
from beam_export.samples import DAMAGED_IMAGE, Failure
from beam_export.shards.npy_types import is_array_remark
from beam_export.shards.parquet import FAILURES, SHARDS
from beam_export.shards.reasons import describe_all, remedy_of
from beam_export.shards.writer import ShardResult
from beam_export.text import cut, quantity

__all__ = [
    "FORMAT",
    "FROM_JSON",
    "LACKS",
    "MEMBERS",
    "Manifest",
    "SealError",
    "SplitShards",
    "Totals",
    "describe_schema",
    "failures_table",
    "has_damage",
    "lacks",
    "remarks",
    "seal",
    "shards_table",
    "totals",
    "unseal",
    "with_indexes",
]

#: Version of the layout that format.md, part 4, describes.
FORMAT = 1
#: In the run's own facts: the columns of all samples with a `.json` were made of its keys.
FROM_JSON = "columns_from_json"
#: In the run's own facts: the images that this run wrote (`samples`), and how many of those lack
#: each of `images.uniform.WORDS`. No fact of the dataset: of shards that were kept it is not known.
LACKS = "lacks"
#: In the run's own facts: the step about members, of an export that left them as they came too.
MEMBERS = "members"
#: Of a sealed file: the digest of all its other fields.
_SEAL_FIELD = "sha256"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over the dataset: what became of every sample that was read.

    Attributes:
        read: samples that the inputs held.
        filtered: left out by `--filter`, `--ids` or `--exclude_ids`.
        duplicate: left out by `--duplicates=first`.
        limited: left out by `--limit`.
        failed: in the failures.
        written: in the shards; `copied + encoded == written`.
        shards: how many there are.
        bytes, parquet_bytes: sizes of all tars and of all their Parquet files.
    """

    read: int
    filtered: int
    duplicate: int
    limited: int
    failed: int
    written: int
    copied: int
    encoded: int
    shards: int
    bytes: int
    parquet_bytes: int

    def check(self) -> None:
        """Checks that no sample is lost or counted twice.

        Raises:
            RunError: if the sums disagree.
        """
        gone = self.filtered + self.duplicate + self.limited + self.failed + self.written
        if self.copied + self.encoded != self.written:
            raise RunError(
                f"{self.written} samples were written, but {self.copied} copied and {self.encoded} "
                "encoded: a shard's Parquet is not what was written; give an empty --output_dir."
            )
        if self.read != gone:
            raise RunError(
                f"{self.read} samples were read, but {self.written} written, {self.failed} failed, "
                f"{self.filtered} left out by a filter, {self.duplicate} duplicates and "
                f"{self.limited} beyond the limit make {gone}: the input has changed while it was "
                "read; run again."
            )

    @property
    def tried(self) -> int:
        """How many samples were to be written."""
        return self.failed + self.written

    def exceeds(self, most: float) -> bool:
        """Returns whether more samples failed than `--max_failed_fraction` allows."""
        return self.tried > 0 and self.failed / self.tried > most

    def check_budget(
        self, most: float, failures: Sequence[Failure], list_all: Callable[[], str | None]
    ) -> None:
        """Checks that no more samples failed than `--max_failed_fraction` allows.

        Args:
            most: that fraction.
            failures: all there are.
            list_all: writes the list of them, and returns its path.

        Raises:
            RunError: if the fraction of failures is above `most`.
        """
        if self.exceeds(most):
            images = quantity(self.tried, "image")
            share = f"{self.failed} of {images}" if self.written else f"all {images}"
            if self.tried == 1:
                share = "the only image"
            raise RunError(
                f"{share} failed, more than --max_failed_fraction={most} allows: "
                f"{describe_all(failures, list_all())}: "
                f"{remedy_of(failures) or 'mend them, or allow more'}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitShards:
    """The shards of one split (`--split`), which follow one another.

    Attributes:
        name: as its samples' column `split` has it.
        key: the name that files and loaders give it (`naming.split_key`).
        first_shard: number of its first shard; of an empty split, of the shard that comes next.
        shards: how many it has; none if it is empty.
        samples: images in them.
        bytes: sizes of their tars.
    """

    name: str
    key: str
    first_shard: int
    shards: int
    samples: int
    bytes: int

    @property
    def numbers(self) -> range:
        """The numbers of its shards."""
        return range(self.first_shard, self.first_shard + self.shards)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `images-{hash}-manifest.json`.

    Attributes:
        hash: 12 hex digits, or a token if names are not deterministic.
        options: those that shape the output.
        software: versions of all that shapes bytes.
        steps: the processing, in order, each with its counts.
        schema: the columns of the Parquet files, name and Arrow type.
        totals: sums over the dataset.
        tables: name and sha256 of the tables under `_meta`.
        splits: of `--split`, in the order of their shards, the empty ones too; none without it.
        indexes: name and sha256 of the files for loaders that the dataset has once (`--index`).
    """

    hash: str
    options: Mapping[str, Any]
    software: Mapping[str, str]
    steps: Sequence[Mapping[str, Any]]
    schema: Sequence[Mapping[str, str]]
    totals: Totals
    tables: Sequence[Mapping[str, str]]
    splits: Sequence[SplitShards] = ()
    indexes: Sequence[Mapping[str, str]] = ()

    def to_json(self) -> bytes:
        """Returns the manifest as a file's content: sorted keys, the same for the same dataset."""
        content = dataclasses.asdict(self)
        # Without them manifests are as they were before there were any.
        for name in ("splits", "indexes"):
            if not content[name]:
                del content[name]
        return seal({"format": FORMAT, **content})


def with_indexes(
    manifest: Mapping[str, Any],
    names: ShardNames,
    *,
    table: Sequence[Mapping[str, str]],
    indexes: Sequence[Mapping[str, str]],
) -> bytes:
    """Returns a manifest as the export itself would have written it with these indexes.

    Args:
        manifest: of the export, without its digest.
        names: of its files.
        table: name and sha256 of the table of the shards' indexes.
        indexes: name and sha256 of those that the dataset has once.
    """
    others = [one for one in manifest["tables"] if one["name"] != names.indexes]
    listed = {"indexes": list(indexes)} if indexes else {}
    kept = {name: value for name, value in manifest.items() if name != "indexes"}
    return seal({**kept, **listed, "tables": [*others, *table]})


def totals(
    results: Iterable[ShardResult],
    listed: int,
    *,
    counted: int,
    filtered: int,
    duplicate: int,
    limited: int,
) -> Totals:
    """Returns the sums over the dataset.

    Args:
        results: one per shard.
        listed: failures from before planning.
        counted: samples that came to planning, as counted there.
        filtered: samples that were left out before.
        duplicate, limited: samples that were left out of the plan.
    """
    shards = list(results)
    failed = listed + sum(len(shard.failures) for shard in shards)
    return Totals(
        read=counted + listed + filtered,
        filtered=filtered,
        duplicate=duplicate,
        limited=limited,
        failed=failed,
        written=sum(shard.samples for shard in shards),
        copied=sum(shard.copied for shard in shards),
        encoded=sum(shard.encoded for shard in shards),
        shards=len(shards),
        bytes=sum(shard.bytes for shard in shards),
        parquet_bytes=sum(shard.parquet_bytes for shard in shards),
    )


def remarks(results: Iterable[ShardResult]) -> dict[str, int]:
    """Returns the number of samples per remark; `failed_damaged` counts failures by damage.

    Remarks that name a codec, or the type of an array, are left out: see `images.codecs` and
    `shards.npy_types`.
    """
    counts: collections.Counter[str] = collections.Counter()
    for result in results:
        counts.update(
            {
                name: count
                for name, count in result.remarks
                if not is_codec(name) and not is_array_remark(name)
            }
        )
        counts["failed_damaged"] += sum(one.error == DAMAGED_IMAGE for one in result.failures)
    return {name: count for name, count in sorted(counts.items()) if count}


def lacks(results: Iterable[ShardResult]) -> dict[str, int]:
    """Returns the images of the shards that this run wrote, and how many lack what (`LACKS`)."""
    counts: collections.Counter[str] = collections.Counter({"samples": 0})
    for result in results:
        if not result.kept:
            counts.update({"samples": result.samples, **dict(result.lacks)})
    return dict(sorted(counts.items()))


def has_damage(results: Iterable[ShardResult]) -> bool:
    """Returns whether a sample was kept, or failed, as damaged."""
    return not {"damaged", "failed_damaged"}.isdisjoint(remarks(results))


def describe_schema(columns: pa.Schema) -> list[dict[str, str]]:
    """Returns name and type of every column of the shards' Parquet files."""
    return [{"name": field.name, "type": str(field.type)} for field in [*STRUCTURAL, *columns]]


def shards_table(results: Iterable[ShardResult], names: ShardNames) -> pa.Table:
    """Returns the table of shards, by number."""
    rows = [
        {
            "shard": one.number,
            "tar_file": names.tar(one.number),
            "parquet_file": names.parquet(one.number),
            "samples": one.samples,
            "bytes": one.bytes,
            "parquet_bytes": one.parquet_bytes,
            "tar_sha256": one.tar_sha256,
            "parquet_sha256": one.parquet_sha256,
            "plan": one.plan,
            "failed": len(one.failures),
            "copied": one.copied,
            "encoded": one.encoded,
        }
        for one in sorted(results)
    ]
    return pa.Table.from_pylist(rows, schema=SHARDS)


def failures_table(failures: Iterable[Failure]) -> pa.Table:
    """Returns the table of failures, sorted; messages that are too long are cut."""
    rows = (one._replace(message=cut(one.message, LONGEST_MESSAGE)) for one in failures)
    return pa.Table.from_pylist([one._asdict() for one in sorted(rows)], schema=FAILURES)


class SealError(Exception):
    """A sealed file is damaged; the message says how, in one clause."""


def seal(content: Mapping[str, Any]) -> bytes:
    """Returns the content as canonical JSON with its digest; it has no field `sha256` itself."""
    return _canonical_json({**content, _SEAL_FIELD: _digest(content)})


def unseal(data: bytes) -> dict[str, Any]:
    """Returns the content of a sealed file, without the field `sha256`.

    Raises:
        SealError: if any byte of the file has changed.
    """
    try:
        content = json.loads(data)
    # A few kB of brackets are deeper than the parser goes.
    except (ValueError, RecursionError) as error:
        raise SealError(f"it is not JSON ({type(error).__name__})") from error
    if not isinstance(content, dict) or not isinstance(content.get(_SEAL_FIELD), str):
        raise SealError(f"it has no field {_SEAL_FIELD!r}, the digest of its content")
    stored = content.pop(_SEAL_FIELD)
    if stored != _digest(content):
        raise SealError(f"its content is not what its field {_SEAL_FIELD!r} says")
    # The digest is of values: a space more, or another order, would not show in it.
    if data != _canonical_json({**content, _SEAL_FIELD: stored}):
        raise SealError("it is not written as such a file is: sorted keys, two spaces a level")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical_json(content)).hexdigest()


def _canonical_json(content: Mapping[str, Any]) -> bytes:
    # A lone surrogate (of a name that is no UTF-8) becomes `\udc80`, an escape of JSON, too.
    text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"
