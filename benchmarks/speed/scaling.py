"""Measures planning per key, step by step, at 10^7 keys; estimates what a run of any size needs.

    python benchmarks/speed/scaling.py [--keys 10000000] [--save]   measures (minutes, some GB)
    python benchmarks/speed/scaling.py --table [--images N ...]     the table of docs/scaling.md

Measuring runs the functions that the pipeline's steps run, one after the other, in one process and
without a runner: what is left is what the steps themselves cost, on any runner. The table is
arithmetic on those constants, on figures of the other benchmarks, and on what you give: rates and
prices are inputs, since they are yours.
"""

from __future__ import annotations

import argparse
import collections
import gc
import itertools
import json
import os
import pathlib
import pickle
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from beam_export.options import ExportOptions
from beam_export.planning import duplicates, order
from beam_export.planning import plan as plans
from beam_export.planning.blocks import open_block, pack_sorted
from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.shards.writer import ShardResult
from benchmarks.common import save

_RESULTS = pathlib.Path(__file__).parents[1] / "results"
_BLOCK = 1000
_PER_SHARD = 1000


def made_refs(start: int, stop: int) -> list[SampleRef]:
    """Returns refs as a listing of a bucket gives them: paths of some 60 letters."""
    refs = []
    for number in range(start, stop):
        path = f"gs://a-bucket/dataset/part-{number // 10_000:06d}/photo_{number:010d}.jpg"
        member = Member("jpg", path, WHOLE, 40_000 + number % 20_011)
        key = order.source_key(0, number)
        refs.append(SampleRef(key, path[22:-4], path, member, (), {}, member.size))
    return refs


class Clock:
    """Sums CPU seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)

    def timed(self, step: str, items: Iterable[Any]) -> Iterator[Any]:
        """Passes items on; the time to make them counts for `step`, that to use them does not."""
        source = iter(items)
        while True:
            began = time.process_time()
            item = next(source, None)
            self.seconds[step] += time.process_time() - began
            if item is None:
                return
            yield item


def measure(keys: int) -> dict[str, Any]:
    """Plans `keys` made samples; returns costs a key, and that the plan is what it must be."""
    clock, shuffled = Clock(), collections.Counter[str]()
    options = ExportOptions(output_dir="-", order="shuffled", images_per_tar=_PER_SHARD)
    blocks = []
    for at in range(0, keys, _BLOCK):
        refs = made_refs(at, min(at + _BLOCK, keys))
        began = time.process_time()
        blocks.append(order.assign_keys(refs, "shuffled", 0))
        clock.seconds["assign keys"] += time.process_time() - began
    gc.freeze()
    shuffled["blocks of refs"] = sum(map(len, blocks))
    sample = _sample(blocks, clock)
    decisions = _settle(blocks, sample, clock, shuffled)
    segments = _rank(blocks, sample, decisions, options, clock, shuffled)
    began = time.process_time()
    plan = plans.make_plan(segments, options.digest(), None)
    packed = plan.pack()
    clock.seconds["make plan"] = time.process_time() - began
    counts = _assign(blocks, packed, clock, shuffled)
    exact = list(counts.values()) == [_PER_SHARD] * (keys // _PER_SHARD) + (
        [keys % _PER_SHARD] if keys % _PER_SHARD else []
    )
    began = time.process_time()
    plans.Plan.unpack(packed)
    opened = time.process_time() - began
    held = _held(lambda: plans.Plan.unpack(packed))
    packed_results = pickle.dumps([_result(number) for number in range(1000)])
    return {
        "keys": keys,
        "cpu_us_a_key": {step: round(s * 1e6 / keys, 3) for step, s in clock.seconds.items()},
        "shuffled_bytes_a_key": {what: round(n / keys, 1) for what, n in shuffled.items()},
        "plan_bytes_a_shard": round(len(packed) / len(plan.firsts), 1),
        "plan_open_us_a_shard": round(opened * 1e6 / len(plan.firsts), 2),
        "plan_held_bytes_a_shard": round(held / len(plan.firsts), 1),
        "result_held_bytes_a_shard": round(_held(lambda: pickle.loads(packed_results)) / 1000, 1),
        "bucket_held_bytes_a_key": _bucket_held(),
        "peak_memory_bytes_a_key": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / keys, 1
        ),
        "shards": len(plan.firsts),
        "exact": exact and plan.total == keys,
    }


def _sample(blocks: list[bytes], clock: Clock) -> bytes:
    sample = order.KeySample()
    for _ in clock.timed("sample keys", (sample.add_block(block) for block in blocks)):
        pass
    return sample.pack()


def _group(
    pairs: Iterable[tuple[int, bytes]], shuffled: collections.Counter[str], what: str
) -> dict[int, list[bytes]]:
    """Does what a GroupByKey does, and counts what would travel."""
    groups: dict[int, list[bytes]] = collections.defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
        shuffled[what] += len(value)
    return groups


def _bundled(
    pairs: Iterator[tuple[int, Any]], pack: Callable[[list[Any]], Iterable[bytes]]
) -> Iterator[tuple[int, bytes]]:
    """Yields pairs packed as a worker does: those of one key in a bundle together."""
    while some := list(itertools.islice(pairs, 50_000)):
        held = collections.defaultdict(list)
        for key, value in some:
            held[key].append(value)
        yield from ((key, packed) for key, values in held.items() for packed in pack(values))


def _settle(
    blocks: list[bytes], sample: bytes, clock: Clock, shuffled: collections.Counter[str]
) -> bytes:
    named = (pair for block in blocks for pair in duplicates.name_rows(block, sample))
    rows = clock.timed("name rows", _bundled(named, duplicates.pack_name_rows))
    groups = _group(rows, shuffled, "rows of names")
    found = (duplicates.clashes_in(bucket, parts) for bucket, parts in groups.items())
    clashes = [clash for part in clock.timed("find equal ids", found) for clash in part]
    return duplicates.pack_decisions(
        [one for block in blocks for one in duplicates.duplicate_ids(block, clashes, "error")],
        "error",
    )


def _rank(
    blocks: list[bytes],
    sample: bytes,
    decisions: bytes,
    options: ExportOptions,
    clock: Clock,
    shuffled: collections.Counter[str],
) -> list[plans.Segment]:
    keyed = (pair for block in blocks for pair in plans.bucket_keys(block, sample, decisions))
    pairs = clock.timed("bucket keys", _bundled(keyed, plans.pack_keys))
    groups = _group(pairs, shuffled, "keys")
    sizes = (sum(1 for _ in plans.unpack_bucket(parts)) for parts in groups.values())
    counts = dict(zip(groups, clock.timed("count keys", sizes), strict=True))
    cut = (
        plans.segments(
            plans.unpack_bucket(parts),
            order.bucket_offsets(counts)[bucket],
            options.images_per_tar,
            None,
        )
        for bucket, parts in groups.items()
    )
    return [one for part in clock.timed("cut segments", cut) for one in part]


def _assign(
    blocks: list[bytes], packed: bytes, clock: Clock, shuffled: collections.Counter[str]
) -> dict[int, int]:
    """Sends every ref to its shard, 50 blocks a bundle; returns how many each shard got."""
    shard_of = plans.open_plan(packed).shard_of
    counts: collections.Counter[int] = collections.Counter()

    def bundle(some: list[bytes]) -> int:
        held = collections.defaultdict(list)
        for block in some:
            for ref in open_block(block).refs():
                held[shard_of(ref.order)].append(ref)
        size = 0
        for shard, refs in held.items():
            counts[shard] += len(refs)
            size += sum(map(len, pack_sorted(refs)))
        return size

    bundles = (blocks[at : at + 50] for at in range(0, len(blocks), 50))
    for size in clock.timed("assign shards", map(bundle, bundles)):
        shuffled["refs by shard"] += size
    return dict(sorted(counts.items()))


def _held(make: Callable[[], Any]) -> int:
    """Returns the bytes of memory that what `make` returns takes."""
    tracemalloc.start()
    made = make()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del made
    return size


def _result(number: int) -> ShardResult:
    sums = [f"{number + 2**250 + part:064x}" for part in range(3)]
    return ShardResult(number, 1000, 900, 100, 2**26 + number, 2**17 + number, *sums, ())


def _bucket_held() -> float:
    """Returns the bytes a key of a bucket that is sorted and cut."""
    pairs = [(os.urandom(28), os.urandom(32)) for _ in range(50_000)]
    parts = (pairs[at : at + 1000] for at in range(0, len(pairs), 1000))
    packed = [one for part in parts for one in plans.pack_keys(part)]
    return round(_held(lambda: sorted(plans.unpack_bucket(packed))) / len(pairs), 1)


def encoding_rate(cores: int) -> float:
    """Returns images a second of so many cores, from `export_speed.py`'s last result."""
    speed = json.loads((_RESULTS / "export_speed_encode.json").read_text())
    of_all = speed["contestants"]["beam_export"]["images_per_second"]
    return float(of_all) / int(speed["machine"]["cores"]) * cores


# The table.


def needs(images: int, given: argparse.Namespace, constants: dict[str, Any]) -> dict[str, str]:
    """Returns what a run over so many images needs, a row of text each."""
    shards = -(-images // given.images_per_tar)
    cpu = sum(constants["cpu_us_a_key"].values()) * images / 1e6
    travels = constants["shuffled_bytes_a_key"]
    per_bucket = images / min(4096, max(1, -(-images // 50_000)))
    writing = images / (given.images_per_second_a_worker or encoding_rate(given.cores_a_worker))
    stored = images * given.bytes_an_image
    reads = images if given.one_file_an_image else stored / 16e6
    workers = given.workers
    dollars = (
        (cpu / 3600 + writing / 3600 * given.cores_a_worker) * given.price_core_hour
        + writing / 3600 * given.price_gpu_hour
        + (reads * given.price_read + (2 * shards + 5) * given.price_write) / 1000
        + sum(travels.values()) * images / 1e9 * given.price_shuffle_gb
    )
    return {
        "shards": f"{shards:,}",
        "requests to list (1000 a page)": f"{-(-images // 1000):,}"
        if given.one_file_an_image
        else "one walk a tar",
        "planning, core hours": f"{cpu / 3600:,.2f}",
        "keys and names shuffled, GB": _gb(images, travels, "rows of names", "keys"),
        "refs shuffled, GB": _gb(images, travels, "blocks of refs", "refs by shard"),
        "a bucket, keys": f"{per_bucket:,.0f}",
        "memory of a bucket, MB": f"{constants['bucket_held_bytes_a_key'] * per_bucket / 1e6:,.0f}",
        "side input (the plan), MB": f"{constants['plan_bytes_a_shard'] * shards / 1e6:,.2f}",
        "time to open it, s a process": f"{constants['plan_open_us_a_shard'] * shards / 1e6:,.2f}",
        "memory of it, MB a process": _mb(constants, "plan", shards),
        "memory of the last step, MB": _mb(constants, "result", shards),
        "requests to read": f"{reads:,.0f}",
        "requests to write": f"{2 * shards + 5:,}",
        "stored, TB": f"{stored / 1e12:,.2f}",
        "writing, worker hours": f"{writing / 3600:,.1f}",
        f"writing on {workers} workers, hours": f"{writing / 3600 / workers:,.1f}",
        "dollars": f"{dollars:,.2f}",
    }


def _mb(constants: dict[str, Any], what: str, shards: int) -> str:
    return f"{constants[f'{what}_held_bytes_a_shard'] * shards / 1e6:,.1f}"


def _gb(images: int, travels: dict[str, float], *what: str) -> str:
    return f"{sum(travels[name] for name in what) * images / 1e9:,.2f}"


def table(given: argparse.Namespace) -> None:
    """Prints the table as Markdown."""
    constants = json.loads((_RESULTS / "scaling.json").read_text())
    columns = [needs(images, given, constants) for images in given.images]
    print("| | " + " | ".join(f"{images:,} images" for images in given.images) + " |")
    print("|---|" + "---|" * len(columns))
    for row in columns[0]:
        print(f"| {row} | " + " | ".join(column[row] for column in columns) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/scaling.json")
    parser.add_argument("--table", action="store_true", help="compute instead of measuring")
    group = parser.add_argument_group("inputs of the table")
    default = [10**6, 10**8, 5 * 10**9]
    group.add_argument("--images", type=int, nargs="+", default=default)
    group.add_argument("--images_per_tar", type=int, default=1000)
    group.add_argument("--bytes_an_image", type=float, default=50_000)
    group.add_argument("--one_file_an_image", action=argparse.BooleanOptionalAction, default=True)
    group.add_argument("--workers", type=int, default=100)
    group.add_argument("--cores_a_worker", type=int, default=8)
    group.add_argument(
        "--images_per_second_a_worker",
        type=float,
        help="measure yours; by default what export_speed.py has measured of encoding, by core",
    )
    for what in ("core_hour", "gpu_hour", "shuffle_gb", "read", "write"):
        unit = " (of 1000 requests)" if what in ("read", "write") else ""
        group.add_argument(f"--price_{what}", type=float, default=0.0, help=f"dollars{unit}")
    given = parser.parse_args()
    if given.table:
        table(given)
        return
    content = measure(given.keys)
    if given.save:
        save("scaling", content)
    else:
        print(json.dumps(content, indent=2))
    if not content["exact"]:
        raise SystemExit("a shard has not what it should have")


if __name__ == "__main__":
    main()
