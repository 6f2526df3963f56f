"""What tests of the whole chain share: small images, runs, and an independent look at exports."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms import userstate
from gcs_fixtures import bucket, emulator  # noqa: F401 (fixtures)
from PIL import Image

import beam_export
from beam_export.cli import local as here
from beam_export.cli import processes as orphans
from beam_export.declaration import Option
from beam_export.errors import find_error

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def another_value(one: Option) -> Any:
    """Returns a value of an option that is not its default, and fits the others' defaults."""
    if one.choices:
        return next(word for word in reversed(one.choices) if word != one.default)
    if one.kind is bool:
        return not one.default
    if one.kind is str:
        return f"another_{one.name}"
    return 0.5 if one.kind is float else (one.default or 1) // 2 + 1


def picture(seed: int, kind: str = "jpg") -> bytes:
    """Returns an encoded image whose size and pixels follow from `seed`."""
    dice = random.Random(seed)
    width, height = dice.randint(8, 48), dice.randint(8, 32)
    mode = dice.choice(["RGB", "RGB", "L"])
    noise = Image.frombytes(mode, (4, 4), dice.randbytes(4 * 4 * len(mode)))
    file = io.BytesIO()
    name = {"jpg": "JPEG", "png": "PNG"}[kind]
    noise.resize((width, height), Image.Resampling.BILINEAR).save(file, name)
    return file.getvalue()


def make_images(folder: Path, count: int, *, first: int = 0, seed: int = 0) -> Path:
    """Writes images of several formats and depths under `folder`, and returns it."""
    for number in range(first, first + count):
        kind = "png" if number % 4 == 3 else "jpg"
        below = folder / f"part{number % 3}" if number % 5 else folder
        below.mkdir(parents=True, exist_ok=True)
        (below / f"img{number:05d}.{kind}").write_bytes(picture(seed * 100_003 + number, kind))
    return folder


def run_pipeline(
    build: Callable[[beam.Pipeline], object], *, workers: int = 1, runner: object = None
) -> None:
    """Runs what `build` adds to a pipeline: in memory, or with as many processes as workers.

    Raises:
        BeamExportError: what is wrong, out of whatever the runner wrapped it in.
    """
    options = PipelineOptions(["--direct_num_workers", str(workers)])
    chosen = runner or (
        FnApiRunner() if workers == 1 else here.local_runner(workers, verbose=False)
    )
    with orphans.no_orphans():
        pipeline = beam.Pipeline(runner=chosen, options=options)
        build(pipeline)
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:
            # As the command line does: the runner's own words come after the first mark.
            known = find_error("".join(traceback.format_exception(error)))
            if known is None:
                raise
            raise known from error


def run_export(source: Path | str, out: Path | str, *, workers: int = 1, **options: Any) -> Export:
    """Exports as the command line does, and returns what stands in the output directory."""
    made = beam_export.ExportOptions(output_dir=str(out), **options)
    run_pipeline(lambda p: p | beam_export.ExportImages(str(source), made), workers=workers)
    return read_export(out)


def directory_hashes(out: Path | str) -> dict[str, str]:
    """Returns the SHA-256 of every file but run.json, by its name relative to `out`."""
    files = [path for path in Path(out).rglob("*") if path.is_file()]
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.endswith("-run.json")
    }


@dataclasses.dataclass
class Shard:
    """A shard, read with nothing of the package."""

    tar: Path
    members: dict[str, bytes]
    table: pa.Table
    rows: list[dict[str, Any]]
    facts: dict[str, str]


@dataclasses.dataclass
class Export:
    """An export, read with nothing of the package."""

    out: Path
    hash: str
    shards: list[Shard]
    manifest: dict[str, Any]
    failures: list[dict[str, str]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows, in order."""
        return [row for shard in self.shards for row in shard.rows]

    @property
    def ids(self) -> list[str]:
        """All ids, in order."""
        return [row["image_id"] for row in self.rows]

    @property
    def sizes(self) -> list[int]:
        """Samples a shard."""
        return [len(shard.rows) for shard in self.shards]

    def image(self, row: Mapping[str, Any]) -> bytes:
        """Returns an image's bytes by its range in the tar."""
        with (self.out / row["tar_file"]).open("rb") as tar:
            tar.seek(row["offset"])
            return tar.read(row["size"])


def read_export(out: Path | str) -> Export:
    """Reads an export that is complete."""
    folder = Path(out)
    (manifest_path,) = folder.glob("images-*-manifest.json")
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    failures = list(folder.glob("_meta/images-*-failures.parquet"))
    return Export(
        out=folder,
        hash=manifest_path.name.split("-")[1],
        shards=[_read_shard(path) for path in sorted(folder.glob("images-*.tar"))],
        manifest=manifest,
        failures=pq.read_table(failures[0]).to_pylist() if failures else [],
    )


def _read_shard(path: Path) -> Shard:
    with tarfile.open(path) as tar:
        members = {
            member.name: tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar.getmembers()
        }
    table = pq.read_table(path.with_suffix(".parquet"))
    facts = {
        key.decode(): value.decode()
        for key, value in (pq.read_metadata(path.with_suffix(".parquet")).metadata or {}).items()
    }
    return Shard(path, members, table, table.to_pylist(), facts)


def same_but_for_paths(ours: Export, theirs: Export) -> None:
    """Holds two exports to each other that were made of the same images in two places."""
    assert ours.hash == theirs.hash
    assert [shard.tar.name for shard in ours.shards] == [shard.tar.name for shard in theirs.shards]
    for one, other in zip(ours.shards, theirs.shards, strict=True):
        assert one.tar.read_bytes() == other.tar.read_bytes()
        assert one.table.schema.equals(other.table.schema, check_metadata=True)
        assert one.table.drop(["original_path"]).equals(other.table.drop(["original_path"]))
        assert one.facts == other.facts
    # Longer paths make larger tables.
    totals = [{**one.manifest["totals"], "parquet_bytes": 0} for one in (ours, theirs)]
    assert totals[0] == totals[1]


def check_export(out: Path | str, images_per_tar: int, *flags: str) -> None:
    """Holds an export against format.md with the checker of the workplace, where there is one."""
    checker = SHARED / "tools" / "check_export.py"
    if not checker.exists():
        return
    command = [sys.executable, str(checker), str(out), "--n", str(images_per_tar), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def left_over(out: Path | str) -> list[str]:
    """Returns what of temporary files stands in an output directory."""
    return [str(path) for path in Path(out).glob("_tmp*")]


@pytest.fixture(scope="session", autouse=True)
def _package_on_path() -> None:
    """Lets processes that tests start find the package, wherever pytest was started from."""
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


@pytest.fixture(scope="session", autouse=True)
def _beam_looks_at_a_class_once() -> Iterator[None]:
    """Saves a third of a small run: Beam looks for states in each step's class hundreds of times.

    What it finds are parameters of the class's methods, the same each time.
    """
    look = userstate.get_dofn_specs
    found: dict[type, Any] = {}

    def look_once(dofn: beam.DoFn) -> Any:
        kind = type(dofn)
        if kind not in found:
            found[kind] = look(dofn)
        return found[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(userstate, "get_dofn_specs", look_once)
        yield
