"""Fuzzes the parsers of foreign bytes, guided by coverage (atheris), and reports findings.

    pip install atheris
    python benchmarks/robustness/fuzz.py TARGET [--seconds 600] [--corpus DIR] [--findings DIR]
    python benchmarks/robustness/fuzz.py --replay tests/corpus

A target may refuse its input in the one way that it says; whatever else it raises, and whatever
takes over ten seconds or 2 GiB, is a finding, whose input is kept. `--replay` runs each target once
over its folder of inputs and needs no atheris: the tests do so.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from beam_export import naming
from beam_export.errors import InputError
from beam_export.images.jpeg.inspect import inspect, inspect_head
from beam_export.images.transcode import lacks_of_jpeg
from beam_export.metadata.filter import Filter, needs_probe
from beam_export.shards.manifest import SealError, unseal
from beam_export.sources.tar.literals import parse_literal
from beam_export.sources.tar.walk import TarMember, stream_members, walk_members
from beam_export.sources.tar.webdataset import group_members
from beam_export.tar_blocks import BLOCK
from beam_export.text import printable
from beam_export.verify.findings import Faults
from beam_export.verify.shard_tar import StrictTar

_KEY = re.compile(naming.KEY_PATTERN, re.ASCII)
#: Only this package tells its coverage; Beam and pyarrow would take minutes to prepare.
_INSTRUMENTED = """
import atheris
with atheris.instrument_imports(include=["beam_export"]):
    from benchmarks.robustness import fuzz
fuzz.run_here()
"""
_SECONDS_AN_INPUT = 10
_MEMORY_MB = 2048


def fuzz_tar(data: bytes) -> None:
    """Both walks end; members lie within the file; samples and the strict walk hold too."""
    items = list(walk_members(io.BytesIO(data)))
    for item in items:
        if isinstance(item, TarMember):
            assert BLOCK <= item.offset <= item.offset + item.size <= len(data)
    list(group_members(items, "fuzz.tar"))
    for _ in stream_members(io.BytesIO(data), 1 << 20):
        pass
    list(StrictTar(io.BytesIO(data), "fuzz.tar", Faults()).samples())


def fuzz_jpeg(data: bytes) -> None:
    """A JPEG is whole or it is refused; a whole one has a head that says the same."""
    # EXIF and profiles are read of any, whatever they hold.
    assert set(lacks_of_jpeg(b"\xff\xd8" + data, gray=True)) >= {"rgb"}
    head = inspect_head(b"\xff\xd8" + data)
    try:
        facts = inspect(b"\xff\xd8" + data)
    except ValueError:
        return
    assert facts.width > 0
    assert head is None or (head.width, head.height) == (facts.width, facts.height)


def fuzz_names(data: bytes) -> None:
    """Any id has a key of the dialect, and no two ids of one input have the same."""
    text = data.decode("utf-8", "surrogateescape")
    ids = {text, *text.split("\n")}
    keys = {naming.key_of(ident) for ident in ids}
    assert len(keys) == len(ids)
    for key in keys:
        assert _KEY.fullmatch(key)
        assert len(key) <= naming.MAX_KEY
    ext = naming.clean_ext(text)
    assert ext is None or re.fullmatch(naming.EXT_PATTERN, ext, re.ASCII)
    naming.parse(text)
    printable(text).encode()


def fuzz_filter(data: bytes) -> None:
    """An expression is taken or refused in one sentence; nothing but a filter is ever run."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(InputError):
        Filter(text)
        needs_probe(text)


def fuzz_sealed(data: bytes) -> None:
    """A sealed file is what was sealed, or it is refused."""
    with contextlib.suppress(SealError):
        unseal(data)


def fuzz_literal(data: bytes) -> None:
    """The `repr` of a value is read as a literal of plain values, or refused."""
    with contextlib.suppress(ValueError):
        parse_literal(data.decode("utf-8", "surrogateescape"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "tar": fuzz_tar,
    "jpeg": fuzz_jpeg,
    "names": fuzz_names,
    "filter": fuzz_filter,
    "literal": fuzz_literal,
    "sealed": fuzz_sealed,
}


def replay(corpus: pathlib.Path) -> int:
    """Runs each target over its inputs; returns how many there were."""
    count = 0
    for name, target in TARGETS.items():
        for path in sorted((corpus / name).glob("*")):
            target(path.read_bytes())
            count += 1
    return count


def fuzz(name: str, seconds: int, corpus: pathlib.Path, findings: pathlib.Path) -> int:
    """Fuzzes one target in a process of its own, which ends with the time or with a finding."""
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _INSTRUMENTED, name, str(corpus)]
    command += [f"-max_total_time={seconds}", f"-timeout={_SECONDS_AN_INPUT}"]
    command += [f"-rss_limit_mb={_MEMORY_MB}", f"-artifact_prefix={findings}/{name}-"]
    command += ["-max_len=8192", "-print_final_stats=1"]
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = done.stdout + done.stderr
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    edges = re.findall(r"cov: (\d+)", said)
    print(
        f"{name}: {executions[1] if executions else '?'} executions in "
        f"{time.monotonic() - started:.0f} s, coverage {edges[-1] if edges else '?'}, "
        f"{'no finding' if done.returncode == 0 else 'a finding'}"
    )
    if done.returncode:
        print(said[-4000:])
    return done.returncode


def run_here() -> None:
    """Hands this process, `NAME CORPUS FLAGS`, to atheris; it does not come back."""
    import atheris

    name, *flags = sys.argv[1:]
    # What a target sets up once (DuckDB's connection) is no part of its first input's time.
    TARGETS[name](b"")
    atheris.Setup([sys.argv[0], *flags], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Fuzzes or replays; returns 1 on a finding."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=pathlib.Path, default=pathlib.Path("fuzz-corpus"))
    parser.add_argument("--findings", type=pathlib.Path, default=pathlib.Path("fuzz-findings"))
    parser.add_argument("--replay", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.replay:
        print(f"{replay(arguments.replay)} inputs replayed, no finding")
        return 0
    folder = arguments.corpus / arguments.target
    return fuzz(arguments.target, arguments.seconds, folder, arguments.findings)


if __name__ == "__main__":
    sys.exit(main())
