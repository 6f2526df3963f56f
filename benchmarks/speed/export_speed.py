"""Measures the speed of an export against bare loops, `tar` and other tools on the same files.

    python benchmarks/speed/export_speed.py [copy] [encode] [resize] [ready] [--small]
        [--images N] [--runs 5] [--before COMMIT] [--without_sha] [--peers PYTHON] [--folder DIR]
        [--result NAME]
    python benchmarks/speed/export_speed.py --table

`copy` copies 20,000 JPEGs (about 10 minutes on 2 cores with all peers), `encode` encodes 4,000 at
quality 92 (8 minutes), `resize` brings 120 of 12 megapixels to 512 (7 minutes), `ready` encodes
20,000 with indexes, JSON, splits and labels and without (15 minutes). Making the files takes
another 1 to 2 minutes for each. Sizes, tables and chroma subsampling of the files differ as those
of the web do; all lie in memory. All contestants run in turn, so that a noisy moment of the machine
hits everything. The start-up, the same command on one image, is measured in turn too, and its
median subtracted. CPU seconds are those of all processes. Peak memory is of one more run that is
not timed: the proportional set sizes of all processes together. There the tars of the export and of
the bare loop are compared too.

`make peers` installs the other tools; what is not installed is listed as such. --without_sha has
OpenSSL use no SHA instructions, as on older processors. --table prints all results as a table.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import PeakMemory, Usage, keep_in_memory, save, use, worktree
from benchmarks.photos import make_large_photos, make_web_photos
from benchmarks.speed.contestants import (
    KINDS,
    ROOT,
    WITHOUT_SHA,
    Contestant,
    Peers,
    contestants,
    find_peers,
)
from benchmarks.speed.paired import Runs, saved, summary, table

_IMAGES = {"copy": 20_000, "encode": 4_000, "resize": 120, "ready": 20_000}
_SMALL = 10
#: Runs in which start-up is measured: it varies little.
_STARTS = 3


class Ground:
    """Folders of images, and the place where contestants write."""

    def __init__(self, folder: pathlib.Path, kind: str, images: int) -> None:
        """Makes the images: `many`, and `one` in a folder of its own."""
        self.many, self.one = folder / kind / "many", folder / kind / "one"
        self._target = folder / kind / "out"
        make = make_large_photos if kind == "resize" else make_web_photos
        make(self.many, images)
        first = min(self.many.rglob("*.jpg"))
        (self.one / first.parent.name).mkdir(parents=True)
        shutil.copy(first, self.one / first.parent.name)
        if not keep_in_memory(self.many):
            _say("the files may leave memory: this user may not lock so much")

    def run(self, one: Contestant, source: pathlib.Path, *, memory: bool = False) -> Usage:
        """Runs a contestant once, and removes what it wrote."""
        watch = functools.partial(PeakMemory, every=0.2, proportional=True)
        with self._writing():
            command = one.command(source, self._target)
            return use(command, env=one.env, cwd=one.cwd, memory=watch if memory else None)

    def tars(self, one: Contestant) -> list[str]:
        """Returns the sums of the tars that a contestant writes."""
        with self._writing():
            use(one.command(self.many, self._target), env=one.env, cwd=one.cwd)
            paths = sorted(self._target.glob("*.tar"))
            return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        self._target.mkdir()
        os.sync()
        try:
            yield
        finally:
            shutil.rmtree(self._target)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(ground: Ground, field: Sequence[Contestant], runs: int) -> Runs:
    """Returns what each contestant has used in each run; one that fails once is run no more."""
    done = Runs()
    for number in range(runs):
        for one in field:
            if one.name in done.failed:
                continue
            try:
                if number < _STARTS:
                    done.starts[one.name].append(ground.run(one, ground.one))
                used = ground.run(one, ground.many)
            except RuntimeError as error:
                if not one.peer:
                    raise
                done.fail(one.name, str(error))
                _say(f"{one.name} failed: {error}")
                continue
            done.whole[one.name].append(used)
            _say(f"run {number + 1}: {one.name}: {used.wall:.2f} s, {used.cpu:.2f} CPU s")
    for one in field:
        if one.name not in done.failed:
            done.peaks[one.name] = ground.run(one, ground.many, memory=True).peak
    return done


def compared_bytes(ground: Ground, field: Sequence[Contestant]) -> str:
    """Returns whether all contestants that should write the same tars do so."""
    same = [one for one in field if one.tars]
    sums = {tuple(ground.tars(one)) for one in same}
    return f"{'the same' if len(sums) == 1 else 'NOT the same'} tars by {len(same)}"


def compare(kind: str, given: argparse.Namespace, folder: pathlib.Path) -> None:
    """Measures one kind of work, and saves and prints the result."""
    peers = find_peers(given.peers)
    images = given.images or _IMAGES[kind] // (_SMALL if given.small else 1)
    with contextlib.ExitStack() as stack:
        before = None
        if given.before:
            before = stack.enter_context(worktree(given.before, folder / f"before-{kind}"))
        field = contestants(kind, peers, before)
        missing = _missing(field, peers)
        present = [one for one in field if one.name not in missing]
        ground = Ground(folder, kind, images)
        done = measure(ground, present, given.runs or (3 if given.small else 5))
        facts: dict[str, object] = {"kind": kind, "images": images, "commit": _commit()}
        facts["mean_kb"] = round(_bytes(ground.many) / images / 1000, 1)
        facts["sha_instructions_used"] = not given.without_sha
        if kind == "copy":
            facts["tars"] = compared_bytes(ground, present)
    result = summary(done, images, versions=_versions(present, peers))
    result["not_installed"] = missing
    name = f"{given.result}_{kind}" + "_without_sha" * given.without_sha
    save(name, {**facts, "load_at_end": round(os.getloadavg()[0], 2), **result})
    print(table({name: {**facts, **result}}))
    shutil.rmtree(folder / kind)


def _missing(field: Sequence[Contestant], peers: Peers) -> dict[str, str]:
    """Returns the contestants whose tool is not there, each with the remedy, and says so."""
    remedy = "not installed; `make peers` installs it"
    missing = {one.name: remedy for one in field if one.peer and not peers.versions.get(one.peer)}
    for name in missing:
        _say(f"{name}: {remedy}")
    return missing


def _versions(field: Sequence[Contestant], peers: Peers) -> dict[str, str]:
    return {one.name: peers.versions[one.peer] or "" for one in field if one.peer}


def _bytes(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.jpg"))


def _commit() -> str:
    """Returns the commit that is measured, with `-dirty` if files differ from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--small", action="store_true", help="a tenth of the images, 3 runs")
    parser.add_argument("--images", type=int, help="so many of each kind")
    parser.add_argument("--runs", type=int, help="5 by default")
    parser.add_argument("--before", help="a commit to compare with")
    parser.add_argument("--without_sha", action="store_true", help="without SHA instructions")
    parser.add_argument("--peers", default="", help="a Python that has other tools, or `none`")
    parser.add_argument("--folder", help="where to work; a temporary directory by default")
    parser.add_argument("--result", default="export_speed", help="beginning of the results' names")
    parser.add_argument("--table", action="store_true", help="print the results that there are")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"{', '.join(sorted(unknown))}: no kind of work; give {', '.join(KINDS)}")
    if given.table:
        print(table(saved(given.result)))
        return
    # Users' Python keeps what it has compiled; where this one must not, start-up takes longer.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if given.without_sha:
        os.environ.update(WITHOUT_SHA)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for kind in given.kinds or KINDS:
            compare(kind, given, pathlib.Path(folder))


if __name__ == "__main__":
    main()
