"""What the figures of benchmarks/speed/export_speed.py rest on: pairs of runs, and a fair loop."""

from __future__ import annotations

import hashlib
import io
import pathlib
import sys

import pyarrow.parquet as pq
from PIL import Image
from support.exports import ROOT

from beam_export.shards.tar import TarWriter

sys.path.insert(0, str(ROOT))

from benchmarks.common import Usage
from benchmarks.speed.contestants import KINDS, OURS, Peers, contestants
from benchmarks.speed.loops import find_files, write_shard
from benchmarks.speed.paired import Runs, summary, table


def usage(wall: float, cpu: float) -> Usage:
    return Usage(wall=wall, cpu=cpu, bytes_read=0, peak=0, peak_below=0)


def test_start_up_is_taken_off_and_ratios_are_those_of_pairs() -> None:
    done = Runs(peaks={OURS: 3_000_000, "theirs": 0})
    done.starts[OURS] += [usage(1, 2), usage(9, 2), usage(1, 2)]
    done.whole[OURS] += [usage(3, 4), usage(2, 4)]
    done.starts["theirs"].append(usage(0, 0))
    done.whole["theirs"] += [usage(4, 1), usage(4, 1)]
    found = summary(done, 100, versions={"theirs": "1.2"})
    assert found["contestants"][OURS]["wall_s"] == {"median": 1.5, "least": 1, "most": 2}
    assert found["contestants"][OURS]["images_per_cpu_second"] == 50
    assert found["contestants"][OURS]["peak_mb"] == 3
    assert found["contestants"]["theirs"]["version"] == "1.2"
    ratios = found["ours_times_as_fast_as"]["theirs"]
    assert ratios["wall"] == {"median": 3, "least": 2, "most": 4}
    assert ratios["cpu"] == {"median": 0.5, "least": 0.5, "most": 0.5}


def test_a_table_names_what_failed_and_what_is_not_installed() -> None:
    done = Runs(peaks={OURS: 0})
    done.starts[OURS].append(usage(0, 0))
    done.whole[OURS].append(usage(1, 1))
    done.whole["broken"].append(usage(1, 1))
    done.fail("broken", "it fell over")
    facts = {"kind": "copy", "images": 100, "sha_instructions_used": False}
    result = {**facts, **summary(done, 100, versions={}), "not_installed": {"absent": "why"}}
    rows = table({"copy": result}).splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert [row.split(" | ")[1] for row in rows[2:]] == [OURS, "absent", "broken"]
    assert "no SHA instructions" in rows[2]


def test_tools_that_are_not_there_are_contestants_too() -> None:
    nothing = Peers("", {})
    needed = {one.peer for kind in KINDS for one in contestants(kind, nothing, None)}
    assert needed == {"", "webdataset", "huggingface", "ray", "curator", "img2dataset"}


def test_the_bare_loop_writes_the_tar_that_an_export_writes(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    for number, size in enumerate(((40, 30), (641, 479), (8, 8))):
        image = Image.effect_noise(size, 60)
        image.save(source / "a" / f"{number}.jpg", optimize=bool(number), progressive=number == 1)
    files = find_files(str(source))
    digest = write_shard(str(tmp_path), (0, files))
    expected = io.BytesIO()
    writer = TarWriter(expected)
    offsets = [writer.add(one.name, pathlib.Path(one.path).read_bytes()) for one in files]
    writer.close()
    assert (tmp_path / "images-000000.tar").read_bytes() == expected.getvalue()
    assert digest == hashlib.sha256(expected.getvalue()).hexdigest()
    rows = pq.read_table(tmp_path / "images-000000.parquet").to_pylist()
    assert [row["offset"] for row in rows] == offsets
    assert [(row["width"], row["height"]) for row in rows] == [(40, 30), (641, 479), (8, 8)]
