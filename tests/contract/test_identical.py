"""The same input gives the same bytes, whatever the runner, the workers, the order of arrival."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from support.exports import check_export, directory_hashes, make_images, picture
from support.runs import run_export, run_pipeline

import beam_export
from beam_export import Sample, WriteShards
from beam_export.pipeline.plan_shards import AssignKeys
from beam_export.planning import blocks

COUNT = 23
PER_TAR = 5


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with sidecars, equal ids, and one that is a failure."""
    folder = make_images(tmp_path_factory.mktemp("images"), COUNT)
    (folder / "img00000.jpg").with_suffix(".json").write_text('{"score": 1, "x": [1.5]}')
    (folder / "img00005.json").write_text('{"score": 0.25}')
    (folder / "img00005.png").write_bytes(picture(99, "png"))
    (folder / "img00010.jpg").write_bytes(picture(5)[:50])
    return folder


OPTIONS: dict[str, Any] = {
    "images_per_tar": PER_TAR,
    "duplicates": "rename",
    "max_failed_fraction": 0.1,
}


def options(order: str) -> dict[str, Any]:
    """Returns the options of an order; what is shuffled is split too."""
    split = {"split": "train=0.6,val=0.4"} if order == "shuffled" else {}
    return {**OPTIONS, **split, "order": order}


@pytest.fixture(scope="module", params=["source", "shuffled"])
def order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


#: For what another test proves of the order of the source too.
shuffled_first = pytest.mark.parametrize(
    "order", ["shuffled", pytest.param("source", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(scope="module")
def reference(images: Path, order: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of an export in memory."""
    out = tmp_path_factory.mktemp("reference") / "out"
    run_export(images, out, **options(order))
    check_export(out, PER_TAR, "--samples", str(COUNT), "--allow-short")
    hashes = directory_hashes(out)
    assert any("failures" in name for name in hashes)
    return hashes


@shuffled_first
def test_twice(images: Path, order: str, reference: dict[str, str], tmp_path: Path) -> None:
    run_export(images, tmp_path / "out", **options(order))
    assert directory_hashes(tmp_path / "out") == reference


class _Scatter(beam.DoFn):
    """Hands refs on in blocks of a few, in another order each time."""

    def start_bundle(self) -> None:
        self._refs: list[Any] = []

    def process(self, refs: list[Any]) -> None:
        self._refs.extend(refs)

    def finish_bundle(self) -> Iterator[Any]:
        dice = random.SystemRandom()
        dice.shuffle(self._refs)
        while self._refs:
            few = dice.randint(1, 4)
            part, self._refs = self._refs[:few], self._refs[few:]
            yield beam.transforms.window.GlobalWindows.windowed_value(part)


def scattered(refs: tuple[beam.PCollection, ...]) -> beam.PCollection:
    """Returns refs in another order, in other blocks and bundles."""
    return (
        refs
        | beam.Flatten()
        | "Scatter" >> beam.ParDo(_Scatter())
        | "OtherBundles" >> beam.Reshuffle()
    )


@pytest.fixture
def shuffled_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every block of refs arrive in an order and in a company of its own."""
    expand = AssignKeys.expand
    monkeypatch.setattr(AssignKeys, "expand", lambda self, refs: expand(self, (scattered(refs),)))
    # Several blocks even of few images.
    monkeypatch.setattr(blocks, "REFS_PER_BLOCK", 4)


@pytest.mark.usefixtures("shuffled_arrival")
def test_in_another_order_of_arrival(
    images: Path, order: str, reference: dict[str, str], tmp_path: Path
) -> None:
    run_export(images, tmp_path / "out", **options(order))
    assert directory_hashes(tmp_path / "out") == reference


@pytest.mark.usefixtures("shuffled_arrival")
@pytest.mark.parametrize("order", ["shuffled"], indirect=True)
def test_with_two_processes(
    images: Path, order: str, reference: dict[str, str], tmp_path: Path
) -> None:
    run_export(images, tmp_path / "out", workers=2, **options(order))
    assert directory_hashes(tmp_path / "out") == reference


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_with_processes_twice(
    images: Path, order: str, reference: dict[str, str], tmp_path: Path, workers: int
) -> None:
    for name in ("a", "b"):
        run_export(images, tmp_path / name, workers=workers, **options(order))
        assert directory_hashes(tmp_path / name) == reference


@pytest.mark.parametrize("order", ["source"], indirect=True)
def test_with_bundles_that_are_run_twice(
    images: Path, order: str, reference: dict[str, str], tmp_path: Path
) -> None:
    """What a runner that retries does: every bundle a second time, its first results dropped."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    made = beam_export.ExportOptions(output_dir=str(tmp_path / "out"), **options(order))
    runner = FnApiRunner(bundle_repeat=2)
    pipeline = beam.Pipeline(runner=runner, options=PipelineOptions([]))
    pipeline | beam_export.ExportImages(str(images), made)
    pipeline.run().wait_until_finish()
    assert directory_hashes(tmp_path / "out") == reference


@shuffled_first
def test_by_any_path(
    images: Path,
    order: str,
    reference: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A path from here, with a detour: all but `original_path` is the same."""
    monkeypatch.chdir(tmp_path)
    given = os.path.relpath(images) + "/../" + images.name + "/"
    export = run_export(given, "out", **options(order))
    assert directory_hashes("out") == reference
    assert all(row["original_path"].startswith(str(images) + "/") for row in export.rows)


def test_one_image_more_is_another_dataset(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 3)
    first = run_export(folder, tmp_path / "a")
    make_images(folder, 1, first=3)
    second = run_export(folder, tmp_path / "b")
    assert first.hash != second.hash
    make_images(tmp_path / "elsewhere", 4)
    third = run_export(tmp_path / "elsewhere", tmp_path / "c")
    assert third.hash == second.hash
    assert [shard.members for shard in third.shards] == [shard.members for shard in second.shards]


# Samples of a pipeline.


def samples() -> list[Sample]:
    made = [
        Sample(f"s{number:02d}", picture(number), metadata={"n": number}, fields={"txt": b"t"})
        for number in range(COUNT)
    ]
    return [*made, Sample("s03", picture(3, "png")), Sample("bad", b"no image")]


class _Shuffle(beam.DoFn):
    def process(self, all_samples: Iterable[Sample]) -> Iterator[Sample]:
        mixed = list(all_samples)
        random.SystemRandom().shuffle(mixed)
        yield from mixed


def write(out: Path, order: str, *, runner: object = None, workers: int = 1) -> dict[str, str]:
    def build(pipeline: beam.Pipeline) -> None:
        (
            pipeline
            | beam.Create([samples()], reshuffle=False)
            | beam.ParDo(_Shuffle()).with_output_types(Sample)
            | "OtherBundles" >> beam.Reshuffle()
            | WriteShards(str(out), **options(order))
        )

    run_pipeline(build, runner=runner, workers=workers)
    return directory_hashes(out)


@shuffled_first
def test_write_shards_under_beams_own_direct_runner(order: str, tmp_path: Path) -> None:
    wanted = write(tmp_path / "a", order)
    assert write(tmp_path / "b", order, runner="DirectRunner") == wanted
    check_export(tmp_path / "b", PER_TAR, "--samples", str(COUNT + 1), "--allow-short")


@pytest.mark.slow
def test_write_shards_under_the_runner_that_it_falls_back_to(order: str, tmp_path: Path) -> None:
    wanted = write(tmp_path / "a", order)
    assert write(tmp_path / "b", order, runner=BundleBasedDirectRunner()) == wanted


@pytest.mark.slow
def test_write_shards_with_two_processes(order: str, tmp_path: Path) -> None:
    assert write(tmp_path / "a", order) == write(tmp_path / "b", order, workers=2)
