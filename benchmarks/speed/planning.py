"""Measures time and memory of planning per sample, at 10^4, 10^5 and 10^6 files.

    python benchmarks/speed/planning.py [--runs 3] [--largest 1000000] [--folder DIR]

Each run is a process of its own on the local runner with all cores: it lists a tree of files,
plans, and groups the refs into shards; nothing is written. What is reported is marginal, so that
start-up does not matter. Memory is that of the process and all its workers together.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import logging
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import PeakMemory, in_fresh_process, median, save

SIZES = (10_000, 100_000, 1_000_000)


def make_tree(folder: pathlib.Path, count: int) -> None:
    """Makes `count` files of one byte, 1000 a directory."""
    for start in range(0, count, 1000):
        inner = folder / f"{start // 1000:05d}"
        inner.mkdir(parents=True)
        for number in range(start, min(start + 1000, count)):
            (inner / f"photo_{number:08d}.jpg").write_bytes(b"x")


def plan(folder: str) -> None:
    """Lists, plans and groups what is in a folder; prints seconds to the plan and to the end."""
    logging.basicConfig(level=logging.CRITICAL)
    import apache_beam as beam

    from beam_export.cli.local import local_options, local_runner
    from beam_export.options import ExportOptions
    from beam_export.pipeline import progress
    from beam_export.pipeline.group_into_shards import GroupIntoShards
    from beam_export.pipeline.plan_shards import AssignKeys, OnPlan, PlanShards
    from beam_export.pipeline.read_samples import ReadSamples
    from beam_export.sources.patterns import parse_inputs

    options = ExportOptions(output_dir=f"{folder}-never-written")
    beam_options, workers = local_options([])
    seconds: dict[str, float] = {}
    began = time.perf_counter()

    def heard(counts: Mapping[str, int]) -> None:
        if "planned" in counts:
            seconds["planned"] = time.perf_counter() - began

    with progress.listening(heard) as progress_address:
        runner = local_runner(workers, verbose=False)
        with beam.Pipeline(runner=runner, options=beam_options) as pipeline:
            samples = pipeline | ReadSamples(parse_inputs(folder), options.output_dir)
            blocks = samples.refs | AssignKeys(options.order, options.seed)
            planned = blocks | PlanShards(options, None, OnPlan(None, progress_address))
            groups = blocks | GroupIntoShards(
                planned.plan, planned.decisions, options.images_per_tar
            )
            groups | "Count" >> beam.combiners.Count.Globally()
    seconds["grouped"] = time.perf_counter() - began
    print(json.dumps(seconds))


def measure(folder: pathlib.Path, count: int) -> dict[str, float]:
    """Returns seconds and peak bytes of one run."""
    watched: list[PeakMemory] = []

    def watch(process: int) -> PeakMemory:
        watched.append(PeakMemory(process))
        return watched[0]

    output = in_fresh_process(__file__, ["--plan", str(folder / str(count))], watch)
    return {**json.loads(output), "peak_bytes": watched[0].peak}


def marginal(figures: Mapping[int, Mapping[str, float]], name: str, low: int, high: int) -> float:
    """Returns what a sample more costs between two sizes."""
    return (figures[high][name] - figures[low][name]) / (high - low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--folder", help="where to work; a temporary directory by default")
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plan:
        plan(arguments.plan)
        return
    sizes = [size for size in SIZES if size <= arguments.largest]
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = pathlib.Path(name)
        for size in sizes:
            make_tree(folder / str(size), size)
        for _ in range(arguments.runs):
            for size in sizes:
                runs[size].append(measure(folder, size))
                print(size, runs[size][-1], file=sys.stderr)
    names = ("planned", "grouped", "peak_bytes")
    figures = {
        size: {name: median([run[name] for run in runs[size]]) for name in names} for size in sizes
    }
    cost = functools.partial(marginal, figures)
    result: dict[str, object] = {"runs": arguments.runs, "figures": figures}
    for low, high in itertools.pairwise(sizes):
        result[f"{low} to {high}"] = {
            "planning_us_a_sample": round(cost("planned", low, high) * 1e6, 2),
            "planning_and_grouping_us_a_sample": round(cost("grouped", low, high) * 1e6, 2),
            "memory_bytes_a_sample": round(cost("peak_bytes", low, high)),
        }
    save("planning", result)


if __name__ == "__main__":
    main()
