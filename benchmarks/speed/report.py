"""Measures `beam-export report` by the number of rows: seconds, CPU seconds, peak memory.

    python benchmarks/speed/report.py [--rows 10000,100000,1000000]

An export of small images with 12 columns (numbers, text, classes, moments) is written for each, by
the code that writes shards; a report of it is made by the command.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import io
import pathlib
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from beam_export.metadata.features import with_features
from beam_export.naming import ShardNames
from beam_export.samples import WHOLE, EncodedImage, Failure, Member, SampleRef
from beam_export.shards.manifest import Manifest, describe_schema, totals
from beam_export.shards.meta_files import MetaFiles
from beam_export.shards.output import Output
from beam_export.shards.publish import publish_shard
from beam_export.shards.writer import ReadySample
from benchmarks.common import PeakMemory, save, use

NAMES = ShardNames("0123456789ab")
PER_SHARD, PICTURES, CLASSES = 1_000, 500, 1_000
FIRST_DAY = datetime.datetime(2020, 1, 1)

COLUMNS = with_features(
    pa.schema(
        [
            *((f"score{number}", pa.float64()) for number in range(4)),
            *((f"count{number}", pa.int64()) for number in range(2)),
            ("caption", pa.string()),
            ("language", pa.string()),
            ("cls", pa.int64()),
            ("label", pa.string()),
            ("safe", pa.bool_()),
            ("taken", pa.timestamp("us")),
        ]
    ),
    {"cls": {"_type": "ClassLabel", "names": [f"class {n:04d}" for n in range(CLASSES)]}},
)


def pictures() -> list[bytes]:
    """Returns small JPEGs of noise."""
    random, found = np.random.default_rng(0), []
    for _ in range(PICTURES):
        buffer = io.BytesIO()
        pixels = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return found


def samples(first: int, count: int, images: list[bytes]) -> Iterator[ReadySample]:
    """Yields samples; every hundredth image is one of few, the others differ behind their end."""
    random = np.random.default_rng(first)
    scores, counts = random.normal(5, 1, (count, 4)), random.lognormal(3, 2, (count, 2))
    for row in range(count):
        number = first + row
        data = images[number % PICTURES] + (b"%d" % number if number % 100 else b"")
        metadata = {
            **{f"score{n}": float(one) for n, one in enumerate(scores[row])},
            **{f"count{n}": int(one) for n, one in enumerate(counts[row])},
            "caption": f"photograph {number} of something that a model has described at length",
            "language": ("en", "de", "fr", "ja")[number % 4],
            "cls": number % CLASSES,
            "label": f"class {number % CLASSES:04d}",
            "safe": number % 3 == 0,
            "taken": FIRST_DAY + datetime.timedelta(minutes=number),
        }
        id_, path = f"part{number % 100:02d}/{number:08d}", f"gs://bucket/{number:08d}.jpg"
        ref = SampleRef(b"", id_, path, Member("jpg", path, WHOLE, len(data)), (), metadata, 0)
        sha256 = hashlib.sha256(data).hexdigest()
        image = EncodedImage(data, "jpg", 16, 12, "copied")
        yield ReadySample(ref, id_, image, sha256, [], sha256)


def write_export(out: pathlib.Path, rows: int) -> None:
    """Writes an export of so many rows, in shards of a thousand."""
    output, images = Output(str(out), uuid.uuid4().hex), pictures()
    output.prepare()
    results = [
        publish_shard(
            samples(first, min(PER_SHARD, rows - first), images),
            output,
            number=first // PER_SHARD,
            names=NAMES,
            columns=COLUMNS,
            plan="",
        )
        for first in range(0, rows, PER_SHARD)
    ]
    files = MetaFiles(output, NAMES)
    failures = [
        Failure(f"{n:06d}", f"/in/{n:06d}.jpg", "decode", "ValueError", "it is no image")
        for n in range(rows // 1_000)
    ]
    sums = totals(results, len(failures), counted=rows, filtered=0, duplicate=0, limited=0)
    manifest = Manifest(
        hash=NAMES.hash,
        options={"images_per_tar": PER_SHARD},
        software={},
        steps=[{"step": "write"}],
        schema=describe_schema(COLUMNS),
        totals=sums,
        tables=[*files.put_failures(failures), files.put_shards(results)],
    )
    files.put_last(
        manifest, identity={}, from_json=True, lacks={}, started=time.time(), unchanged=False
    )
    output.sweep()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="10000,100000,1000000")
    arguments = parser.parse_args()
    figures = {}
    for rows in map(int, arguments.rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "out"
            write_export(out, rows)
            command = [sys.executable, "-m", "beam_export", "report", str(out)]
            used = use(command, memory=PeakMemory)
            size = (out / "_meta" / "report.html").stat().st_size
        figures[rows] = {
            "seconds": round(used.wall, 1),
            "cpu_seconds": round(used.cpu, 1),
            "peak_mib": round(used.peak / 2**20),
            "page_kb": size // 1_000,
        }
        print(rows, figures[rows], file=sys.stderr)
    save("report", {"columns": len(COLUMNS), "by_rows": figures})


if __name__ == "__main__":
    main()
