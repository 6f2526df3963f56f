"""Proxies that lead nowhere: what this machine's processes say to each other does not meet them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.exports import left_over, make_images, read_export

from beam_export.pipeline.proxies import spare_this_machine

NAMES = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy")
COUNT = 6
#: Only who waits for ever meets it.
LIMIT = 240

LIBRARY = """
import sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from beam_export import Sample, WriteShards

source, out, *flags = sys.argv[1:]
if __name__ == "__main__":
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        samples = pipeline | beam.Create([Sample("a", open(source, "rb").read())])
        samples | WriteShards(output_dir=out)
"""


@pytest.fixture(params=["silent", pytest.param("refused", marks=pytest.mark.slow)])
def proxy(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The environment with a proxy under all its names that never answers, or is not there."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "silent":
            server.listen(100)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        yield kept | {spelt: url for name in NAMES for spelt in (name, name.upper())}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), COUNT)


def run(proxy: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=proxy, timeout=LIMIT)


def test_commands_do_not_use_it(
    images: Path, proxy: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out, flags = tmp_path / "out", ["--direct_num_workers=2", "--images_per_tar=3"]
    line = ["-m", "beam_export", "export", "--input", images, "--output_dir", out, *flags]
    # The export below asks most of the processes: the rest is the slow suite's.
    slow = request.node.get_closest_marker("slow") is not None
    for workers in (1, 2) if slow else ():
        done = run(proxy, *line, "--dry_run", f"--direct_num_workers={workers}")
        assert done.returncode == 0, done.stderr
    done = run(proxy, *line)
    assert done.returncode == 0, done.stderr
    assert len(read_export(out).rows) == COUNT
    assert left_over(out) == []
    if slow:
        done = run(proxy, "-m", "beam_export", "verify", out, "--direct_num_workers=2")
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_pipeline_of_ones_own_does_not_use_it(
    images: Path, proxy: dict[str, str], tmp_path: Path
) -> None:
    flags = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    program = tmp_path / "program.py"
    program.write_text(LIBRARY)
    flags.append("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner")
    done = run(proxy, program, next(images.rglob("*.jpg")), tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    assert len(read_export(tmp_path / "out").rows) == 1


LOCAL = f"localhost,127.0.0.1,::1,[::1],{socket.gethostname()}"


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, None),
        ({"http_proxy": ""}, None),
        ({"no_proxy": "a"}, None),
        ({"http_proxy": "x"}, LOCAL),
        ({"HTTPS_PROXY": "x"}, LOCAL),
        ({"Grpc_Proxy": "x"}, LOCAL),
        # Once no_grpc_proxy is set, gRPC looks at no other: what stood there is carried over.
        ({"all_proxy": "x", "no_proxy": " .corp, 10.0.0.0/8,,"}, f".corp,10.0.0.0/8,{LOCAL}"),
        ({"http_proxy": "x", "NO_PROXY": "a"}, f"a,{LOCAL}"),
        ({"http_proxy": "x", "no_grpc_proxy": "b", "no_proxy": "a"}, f"b,{LOCAL}"),
        ({"http_proxy": "x", "no_proxy": "localhost"}, LOCAL),
    ],
)
def test_what_is_exempt(given: dict[str, str], made: str | None) -> None:
    environ = dict(given)
    for _ in range(2):
        spare_this_machine(environ=environ)
        expected = {} if made is None else {"no_grpc_proxy": made}
        assert environ == given | expected


def test_other_names_of_this_machine() -> None:
    environ = {"http_proxy": "x"}
    spare_this_machine(full_name=True, environ=environ)
    assert {socket.gethostname(), socket.getfqdn()} <= set(environ["no_grpc_proxy"].split(","))
