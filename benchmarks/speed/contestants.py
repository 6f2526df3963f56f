"""What an export is compared with, as commands that do the same work on the same folder."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = [
    "KINDS",
    "OURS",
    "ROOT",
    "WITHOUT_SHA",
    "Contestant",
    "Peers",
    "contestants",
    "find_peers",
]

ROOT = pathlib.Path(__file__).parents[2]
KINDS = ("copy", "encode", "resize", "ready")

OURS = "beam_export"
#: Has OpenSSL use no SHA instructions (OPENSSL_ia32cap(3)).
WITHOUT_SHA = {"OPENSSL_ia32cap": ":~0x20000000"}

_PEERS_PYTHON = ROOT / ".venvs" / "peers" / "bin" / "python"
_CORES = os.cpu_count() or 1
#: Has glibc keep the memory of pixels for the next image (mallopt(3)).
_TUNED = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
_FLAGS = {
    "copy": ("--encode=auto",),
    "encode": ("--encode=always", "--quality=92"),
    "resize": ("--resize=512", "--resize_mode=keep_ratio_largest", "--quality=92"),
}
#: What makes an export ready for all loaders at once, beside encoding.
_READY = ("--index=all", "--json_columns=all", "--split=train=0.9,val=0.1", "--labels=folder")
_FLAGS["ready"] = (*_FLAGS["encode"], *_READY)

_Command = Callable[[pathlib.Path, pathlib.Path], list[str]]


class Contestant(NamedTuple):
    """One way to do the work.

    Attributes:
        name: in results.
        command: returns the command that reads the first folder and writes to the second.
        env: added to the environment.
        cwd: working directory.
        tars: whether its tars have the bytes of ours.
        peer: the tool of `peers.py` that it needs, or "".
    """

    name: str
    command: _Command
    env: Mapping[str, str] = {}
    cwd: pathlib.Path | None = None
    tars: bool = False
    peer: str = ""


class Peers(NamedTuple):
    """The Python that has other tools, and their versions; None for one that is not there."""

    python: str
    versions: Mapping[str, str | None]


def find_peers(python: str) -> Peers:
    """Returns the tools of a Python: a path, `none`, or "" for that of `make peers` if it is there.

    Without that the tests' own Python, which has some of them.
    """
    if python == "none":
        return Peers("", {})
    chosen = python or (str(_PEERS_PYTHON) if _PEERS_PYTHON.exists() else sys.executable)
    command = [chosen, str(ROOT / "benchmarks" / "speed" / "peers.py"), "installed"]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return Peers(chosen, json.loads(found.stdout))


def contestants(kind: str, peers: Peers, before: pathlib.Path | None) -> list[Contestant]:
    """Returns all that do one kind of work, ours first; peers that are not installed included.

    Args:
        kind: of `KINDS`.
        peers: where other tools are.
        before: a checkout of an older commit to compare with, or None.
    """
    ours = [_export(OURS, kind, ROOT, workers=_CORES)]
    if kind == "ready":
        return [*ours, _export(f"{OURS}, plain", "encode", ROOT, workers=_CORES)]
    if before is not None:
        ours.append(_export(f"{OURS} before", kind, before, workers=_CORES))
    if kind == "copy":
        others = [*_tars(), _loop("bare loop, fsync", "copy", tars=True), *_copying_peers(peers)]
    elif kind == "encode":
        curator = "NeMo Curator's writer"
        others = [*_encoding_loops(), _peer(curator, "curator", peers, processes=_CORES)]
    else:
        resizer = "img2dataset's Resizer"
        others = [*_resizing_loops(), _peer(resizer, "img2dataset", peers, processes=_CORES)]
    if kind != "resize" and _CORES > 1:
        ours.append(_export(f"{OURS}, 1 worker", kind, ROOT, workers=1))
    return [*ours, *others]


def _export(name: str, kind: str, code: pathlib.Path, workers: int) -> Contestant:
    def command(source: pathlib.Path, target: pathlib.Path) -> list[str]:
        places = [f"--input={source}", f"--output_dir={target}", f"--direct_num_workers={workers}"]
        return [sys.executable, "-m", "beam_export", "export", *places, *_FLAGS[kind]]

    # Both: `python -m` looks into the working directory first.
    return Contestant(name, command, {"PYTHONPATH": str(code)}, cwd=code, tars=True)


def _tars() -> list[Contestant]:
    def tar(source: pathlib.Path, target: pathlib.Path) -> list[str]:
        return ["tar", "cf", str(target / "all.tar"), "-C", str(source), "."]

    def synced(source: pathlib.Path, target: pathlib.Path) -> list[str]:
        return ["sh", "-c", '"$@" && sync "$3"', "sh", *tar(source, target)]

    return [Contestant("tar cf", tar), Contestant("tar cf, fsync", synced)]


def _loop(
    name: str, work: str, *flags: str, env: Mapping[str, str] | None = None, tars: bool = False
) -> Contestant:
    def command(source: pathlib.Path, target: pathlib.Path) -> list[str]:
        script = str(ROOT / "benchmarks" / "speed" / "loops.py")
        return [sys.executable, script, work, str(source), str(target), *flags]

    return Contestant(name, command, env or {}, tars=tars)


def _encoding_loops() -> list[Contestant]:
    return [
        _loop("Pillow loop", "encode"),
        _loop("Pillow loop, blocks kept", "encode", "--keep_blocks"),
        _loop("Pillow loop, tuned malloc", "encode", "--keep_blocks", env=_TUNED),
    ]


def _resizing_loops() -> list[Contestant]:
    return [
        _loop("Pillow loop, resize", "resize"),
        _loop("Pillow loop, thumbnail", "resize", "--thumbnail"),
        _loop("Pillow loop, thumbnail, tuned malloc", "resize", "--thumbnail", env=_TUNED),
    ]


def _copying_peers(peers: Peers) -> list[Contestant]:
    found = []
    for name, tool in (
        ("webdataset's ShardWriter", "webdataset"),
        ("Hugging Face to_parquet", "huggingface"),
    ):
        found += [_peer(name, tool, peers, processes=count) for count in sorted({1, 2})]
    return [*found, _peer("Ray write_webdataset", "ray", peers, processes=1)]


def _peer(name: str, tool: str, peers: Peers, processes: int) -> Contestant:
    def command(source: pathlib.Path, target: pathlib.Path) -> list[str]:
        script = str(ROOT / "benchmarks" / "speed" / "peers.py")
        flags = [f"--processes={processes}"]
        return [peers.python, script, tool, str(source), str(target), *flags]

    if tool != "ray":  # which has processes of its own
        name += f", {processes} process" + "es" * (processes > 1)
    return Contestant(name, command, peer=tool)
