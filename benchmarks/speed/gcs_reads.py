"""Measures small random reads of one Google Cloud Storage object: Beam's file system and ours.

    python benchmarks/speed/gcs_reads.py

An object of 200 MB in the tests' emulator (its own process, loopback), 100 KB a read at random
places, 20 ms injected into each request. Beam's is `FileSystems.open`, then `seek` and `read`; ours
is what `WriteShards` does: `prefetch`'s window of refs read ahead by `Reader`, 32 members a batch.
The same places in the same order for both, and the bytes are compared. They take turns; what is
told is of the run with the median rate, with the lowest and the highest rate beside it.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests"))

from support.gcs import Emulator

from benchmarks.common import save

MB = 10**6
URI = "gs://bucket/big.tar"


def read_with_beam(places: list[int], size: int) -> list[bytes]:
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(URI, compression_type="uncompressed") as source:
        found = []
        for place in places:
            source.seek(place)
            found.append(source.read(size))
        return found


def read_with_ours(places: list[int], size: int) -> list[bytes]:
    from beam_export.pipeline.prefetch import BATCH_SAMPLES
    from beam_export.samples import Member
    from beam_export.sources.reader import Reader
    from beam_export.storage.registry import storage_of

    known = storage_of(URI).stat(URI)
    assert known is not None
    members = [Member("jpg", known.pinned, place, size) for place in places]
    found: list[Any] = []
    with Reader(1 << 28) as reader:
        batch: list[Member] = []
        for member in reader.ahead(members, lambda one: [one]):
            batch.append(member)
            if len(batch) == BATCH_SAMPLES:
                found += reader.read_all(batch)
                batch = []
        return [*found, *reader.read_all(batch)]


def measure(
    emulator: Emulator,
    read: Callable[[list[int], int], list[bytes]],
    data: bytes,
    reads: int,
    size: int,
) -> dict[str, Any]:
    dice = random.Random(reads)
    places = [dice.randrange(len(data) - size) for _ in range(reads)]
    emulator.forget()
    started = time.perf_counter()
    found = read(places, size)
    seconds = time.perf_counter() - started
    if found != [data[place : place + size] for place in places]:
        raise RuntimeError("other bytes came than are there")
    counts = emulator.counts()
    return {
        "reads": reads,
        "seconds": round(seconds, 3),
        "reads_per_second": round(reads / seconds, 1),
        "requests": counts["requests"],
        "megabytes_sent": round(counts["sent"] / MB, 1),
    }


def typical(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the run with the median rate, and the rates between which all of them were."""
    by_rate = sorted(measured, key=lambda one: float(one["reads_per_second"]))
    rates = [by_rate[0]["reads_per_second"], by_rate[-1]["reads_per_second"]]
    return {**by_rate[len(by_rate) // 2], "lowest_and_highest": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--kilobytes", type=int, default=100, help="of a read")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds, of each request")
    parser.add_argument("--beam_reads", type=int, default=200)
    parser.add_argument("--reads", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    data = random.Random(0).randbytes(given.megabytes * MB)
    size = given.kilobytes * 1000
    with Emulator.start() as emulator:
        os.environ.update(emulator.environ)
        credentials = pathlib.Path(f"/tmp/gcs-reads-{os.getpid()}.json")
        emulator.write_credentials(credentials)
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(credentials)
        try:
            emulator.make_bucket("bucket")
            emulator.put(URI, data)
            # What each does once a process, imports and connections, is not what is asked.
            read_with_beam([0], 10)
            read_with_ours([0], 10)
            emulator.set_latency(given.latency)
            turns = [(read_with_beam, given.beam_reads)]
            turns += [(read_with_ours, reads) for reads in given.reads]
            runs = [
                [measure(emulator, read, data, reads, size) for read, reads in turns]
                for _ in range(given.runs)
            ]
        finally:
            credentials.unlink(missing_ok=True)
    beam, *ours = [typical(measured) for measured in zip(*runs, strict=True)]
    best = max(one["reads_per_second"] for one in ours)
    save(
        "gcs_reads",
        {
            "object_megabytes": given.megabytes,
            "read_kilobytes": given.kilobytes,
            "latency_seconds": given.latency,
            "runs": given.runs,
            "beam": beam,
            "ours": ours,
            "times_as_fast": round(best / beam["reads_per_second"], 1),
        },
    )


if __name__ == "__main__":
    main()
