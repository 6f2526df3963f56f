"""Exports of given samples, written with the code of the core alone, without a pipeline."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_export.errors import SampleError
from beam_export.images.encoder import EncodeSpec
from beam_export.images.header import read_size
from beam_export.metadata.schema import ColumnTypes
from beam_export.naming import ShardNames, key_of
from beam_export.samples import WHOLE, EncodedImage, Failure, Member, Sample, SampleRef
from beam_export.shards.manifest import Manifest, describe_schema, totals
from beam_export.shards.meta_files import MetaFiles
from beam_export.shards.output import Output
from beam_export.shards.publish import publish_shard
from beam_export.shards.writer import ReadySample

__all__ = ["NAMES", "make_export"]

NAMES = ShardNames("0123456789ab")


def make_export(
    out: Path | str,
    samples: Iterable[Sample],
    *,
    per_shard: int = 3,
    columns: pa.Schema | None = None,
    failures: Sequence[Failure] = (),
    lacks: Mapping[str, int] | None = None,
    members: Sequence[Mapping[str, Any]] = (),
    **given: Any,
) -> Path:
    """Writes an export and returns its directory.

    Args:
        out: its directory.
        samples: with their images as bytes, stored as they are.
        per_shard: samples per shard.
        columns: of the metadata; inferred if not given.
        failures: the rows of the table of failures.
        lacks, members: facts of the run, as `MetaFiles.put_last` takes them.
        given: fields of the manifest, in place of those that follow from the samples.
    """
    kept = list(samples)
    columns = _columns(kept) if columns is None else columns
    output = Output(str(out), uuid.uuid4().hex)
    output.prepare()
    results = [
        publish_shard(
            map(_ready, part), output, number=number, names=NAMES, columns=columns, plan="ab"
        )
        for number, part in enumerate(_parts(kept, per_shard))
    ]
    files = MetaFiles(output, NAMES)
    tables = [*files.put_failures(failures), files.put_shards(results)]
    sums = totals(results, len(failures), counted=len(kept), filtered=0, duplicate=0, limited=0)
    content: dict[str, Any] = {
        "options": {"images_per_tar": per_shard},
        "software": {"beam_export": "0.1.0", "pillow": "12"},
        "steps": [{"step": "read", "samples": sums.read}, {"step": "write"}],
        "schema": describe_schema(columns),
    }
    manifest = Manifest(hash=NAMES.hash, totals=sums, tables=tables, **{**content, **given})
    files.put_last(
        manifest,
        identity={"encoder": "pillow", "device": "cpu"},
        from_json=True,
        lacks=lacks or {},
        members=members,
        notes={},
        hub=None,
        started=0.0,
        unchanged=False,
    )
    output.sweep()
    return Path(out)


def _columns(samples: Sequence[Sample]) -> pa.Schema:
    types = ColumnTypes()
    for sample in samples:
        types.add(sample.metadata, sample.id)
    return types.finish()


def _parts(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    left = iter(samples)
    while part := list(itertools.islice(left, size)):
        yield part


def _ready(sample: Sample) -> ReadySample:
    data = sample.image
    assert isinstance(data, bytes)
    width, height = _size(data)
    ref = SampleRef(
        order=b"",
        id=sample.id,
        path=str(sample.path),
        image=Member("jpg", str(sample.path), WHOLE, len(data)),
        fields=(),
        metadata=dict(sample.metadata),
        size=len(data),
    )
    image = EncodedImage(data, "jpg", width, height, "copied")
    return ReadySample(
        ref, key_of(sample.id), image, hashlib.sha256(data).hexdigest(), _fields(sample.fields)
    )


def _size(data: bytes) -> tuple[int | None, int | None]:
    try:
        return read_size(data, EncodeSpec()) or (None, None)
    except SampleError:
        return None, None


def _fields(fields: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    return sorted((ext, bytes(data)) for ext, data in fields.items())
