"""Measures the memory of writing one shard, by the number of samples in it (1 KB each).

    python benchmarks/speed/writer_memory.py [--runs 3] [--largest 100000]

Each size is a process of its own, which writes one shard as the pipeline's writing step does:
blocks of refs in, tar and Parquet out. Reported is the peak of its resident memory.
"""

from __future__ import annotations

import argparse
import functools
import io
import pathlib
import pickle
import resource
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import in_fresh_process, median, save

SIZES = (100, 1_000, 10_000, 100_000)
_BYTES = 1024


@functools.cache
def _small_jpeg(number: int) -> bytes:
    """Returns a JPEG of 1 KB, padded after its end, as readers allow."""
    random = np.random.default_rng(number)
    buffer = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue().ljust(_BYTES, b"\0")


def write(folder: str, count: int) -> None:
    """Writes one shard of `count` samples; prints the process's peak memory in bytes."""
    import pyarrow as pa

    from beam_export.images.pillow_encoder import PillowEncoder
    from beam_export.options import ExportOptions
    from beam_export.pipeline.export_run import ExportRun
    from beam_export.pipeline.write_shards import _WriteShard
    from beam_export.planning.blocks import open_block, pack_block, pack_ref
    from beam_export.planning.duplicates import Decisions
    from beam_export.planning.order import source_key
    from beam_export.planning.plan import Segment, digest_sum, make_plan
    from beam_export.samples import Member, SampleRef
    from beam_export.shards.output import Output
    from beam_export.shards.resume import FinishedShards

    source = pathlib.Path(folder, "images.bin")
    if not source.exists():
        with source.open("wb") as target:
            for number in range(SIZES[-1]):
                target.write(_small_jpeg(number % 50))

    def plan_of(packed: list[bytes]) -> Iterator[Segment]:
        """One segment a block, as the planning step's buckets give them."""
        for block in packed:
            orders, digests = open_block(block)[:2]
            yield Segment(0, orders[0], orders[-1], len(orders), digest_sum(digests))

    def blocks() -> Iterator[bytes]:
        for start in range(0, count, 1000):
            yield pack_block(
                pack_ref(
                    SampleRef(
                        order=source_key(0, number),
                        id=f"photos/{number // 1000:05d}/photo_{number:08d}",
                        path=f"{source}#photos/{number // 1000:05d}/photo_{number:08d}.jpg",
                        image=Member("jpg", str(source), number * _BYTES, _BYTES),
                        fields=(),
                        metadata={},
                        size=_BYTES,
                    )
                )
                for number in range(start, min(start + 1000, count))
            )

    options = ExportOptions(output_dir=f"{folder}/out-{count}", images_per_tar=count)
    packed = list(blocks())
    layout = make_plan(plan_of(packed), options.digest(), None)
    output, encoder = Output(options.output_dir, "token"), PillowEncoder(options.spec())
    step = _WriteShard(ExportRun(options=options, output=output, encoder=encoder))
    step.setup()
    columns = pa.schema([]).serialize().to_pybytes()
    decisions, finished = pickle.dumps(Decisions()), FinishedShards({}, {}).pack()
    (result,) = step.process((0, packed), layout.pack(), decisions, columns, finished)
    step.teardown()
    assert result.samples == count, result
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write[0], int(arguments.write[1]))
        return
    peaks: dict[int, list[int]] = {}
    sizes = [size for size in SIZES if size <= arguments.largest]
    for _ in range(arguments.runs):
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                output = in_fresh_process(
                    __file__, ["--write", folder, str(size)], lambda _: io.BytesIO()
                )
            peaks.setdefault(size, []).append(int(output))
            print(size, int(output), file=sys.stderr)
    figures = {size: median(values) for size, values in peaks.items()}
    save(
        "writer_memory",
        {
            "runs": arguments.runs,
            "peak_mib_by_samples": {n: round(v / 2**20, 1) for n, v in figures.items()},
            "largest_over_smallest": round(figures[sizes[-1]] / figures[sizes[0]], 3),
        },
    )


if __name__ == "__main__":
    main()
