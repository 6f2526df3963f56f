"""The Flex Template, without Google Cloud: its metadata, its image's recipe, its scripts."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.devices import need_gcp, need_hadolint
from support.dockerfiles import read_stages
from support.exports import ROOT
from support.gcs import Emulator

from beam_export.cli.flags import export_parser, parse_export

TEMPLATES = ROOT / "templates"
METADATA = TEMPLATES / "metadata.json"
DOCKERFILE = TEMPLATES / "Dockerfile"


def parameters() -> list[dict[str, Any]]:
    return json.loads(METADATA.read_text())["parameters"]


def loaded(name: str) -> Any:
    """Returns a module of `templates/`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, TEMPLATES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_metadata_is_that_of_the_parser() -> None:
    made = loaded("make_metadata").as_json()
    assert METADATA.read_text() == made, "run: python templates/make_metadata.py"


def test_every_flag_of_export_is_a_parameter() -> None:
    flags = {action.dest for action in export_parser()._actions} - {"help"}
    names = [parameter["name"] for parameter in parameters()]
    assert flags <= set(names)
    assert len(names) == len(set(names))


def test_dataflow_takes_the_metadata() -> None:
    need_gcp()
    from google.cloud import dataflow_v1beta3
    from google.protobuf import json_format

    # Strict: unknown fields, types of parameters and of values are errors.
    parsed = json_format.Parse(METADATA.read_text(), dataflow_v1beta3.TemplateMetadata.pb()())
    assert parsed.name == "beam_export"
    assert {p.name for p in parsed.parameters if not p.is_optional} == {"input", "output_dir"}


@pytest.mark.parametrize("parameter", parameters(), ids=lambda one: one["name"])
def test_each_parameter_says_what_it_takes(parameter: dict[str, Any]) -> None:
    assert parameter["label"]
    assert parameter["helpText"]
    default = parameter.get("defaultValue")
    words = [option["value"] for option in parameter.get("enumOptions", ())]
    assert (parameter["paramType"] == "ENUM") == bool(words)
    for regex in parameter.get("regexes", ()):
        # POSIX egrep has no classes with a backslash.
        assert "\\" not in regex
        assert default is None or re.fullmatch(regex, default)
    assert default is None or not words or default in words
    assert default is None or parameter["isOptional"]


def test_the_defaults_are_taken_by_the_command_line() -> None:
    """As the launcher passes them: every one as text."""
    flags = [f"--{p['name']}={p['defaultValue']}" for p in parameters() if "defaultValue" in p]
    given = export_parser().parse_args(["--input=a", "--output_dir=b", *flags])
    assert given == export_parser().parse_args(["--input=a", "--output_dir=b"])


def test_hadolint() -> None:
    need_hadolint()
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def bases_of(target: str, variant: str) -> set[str]:
    """Returns the images that a target is made of."""
    stages = read_stages(DOCKERFILE.read_text(), {"VARIANT": variant})
    found, names = set(), [target]
    while names:
        name = names.pop()
        if name not in stages:
            found.add(name)
            continue
        stage = stages[name]
        names.append(stage.base)
        names += re.findall(r"--from=(\S+)", "\n".join(one.text for one in stage.instructions))
    return found


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_an_image_of_workers_needs_no_registry_of_googles(variant: str) -> None:
    beam, python = sorted(bases_of("worker", variant))
    pins = (ROOT / "requirements.txt").read_text()
    (version,) = re.findall(r"^apache-beam==(.+)$", pins, re.MULTILINE)
    (minor,) = re.findall(r"^# Made on Python (\S+),", pins, re.MULTILINE)
    assert beam == f"apache/beam_python{minor}_sdk:{version}"
    assert python == f"python:{minor}-slim-bookworm"
    # Older versions of Docker build all that stands above the target.
    text = DOCKERFILE.read_text()
    assert text.index("AS worker") < text.index("gcr.io/")
    (google,) = bases_of("template", variant) - {beam, python}
    assert google.startswith(f"gcr.io/dataflow-templates-base/python{minor.replace('.', '')}-")


def test_what_is_copied_is_there_and_nothing_else_is_sent_to_docker() -> None:
    copies = re.findall(r"^COPY ([^-].*) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    names = {name for line in copies for name in line.split()}
    assert all((ROOT / name).exists() for name in names)
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert sent == names - {"beam_export/_version.py"}


def test_an_unknown_instruction_of_a_dockerfile_is_refused() -> None:
    with pytest.raises(ValueError, match="HEALTHCHECK is not known here"):
        read_stages("FROM a AS b\nHEALTHCHECK NONE\n", {})


def with_recorders(folder: Path, *programs: str) -> dict[str, str]:
    """Returns an environment in which programs do nothing but write down how they were called."""
    for program in programs:
        (folder / program).write_text(f'#!/bin/sh\necho "{program} $*" >> {folder}/calls\n')
        (folder / program).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_script_builds_and_publishes(tmp_path: Path) -> None:
    environ = with_recorders(tmp_path, "docker", "gcloud")
    script = str(TEMPLATES / "build.sh")
    subprocess.run([script, "r/image", "1", "gs://b/t.json"], check=True, env=environ)
    calls = (tmp_path / "calls").read_text().splitlines()
    built = [line for line in calls if line.startswith("docker build")]
    pushed = [line.removeprefix("docker push ") for line in calls if "docker push" in line]
    names = [f"r/image:1-{name}" for name in ("cpu", "gpu", "template")]
    assert pushed == names
    for line, name, target in zip(built, names, ["worker", "worker", "template"], strict=True):
        assert f"--tag {name} --target {target} " in line
    assert "VARIANT=cpu" in built[0]
    assert "VARIANT=gpu" in built[1]
    assert "CPU_IMAGE=r/image:1-cpu --build-arg GPU_IMAGE=r/image:1-gpu" in built[2]
    assert "VARIANT" not in built[2]
    assert calls[-1].startswith("gcloud dataflow flex-template build gs://b/t.json ")
    assert "--image r/image:1-template " in calls[-1]
    (tmp_path / "calls").unlink()
    subprocess.run([script, "r/image", "1"], check=True, env=environ)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [line for line in calls if "template " in line or "gcloud" in line] == []
    done = subprocess.run([script], capture_output=True, text=True, env=environ)
    assert done.returncode == 2
    assert "templates/build.sh IMAGE TAG" in done.stderr


@pytest.mark.parametrize(
    ("flags", "image"),
    [
        ([], "cpu"),
        (["--gpu=nvidia-l4"], "gpu"),
        (["--encoder=dali", "--device=cpu"], "gpu"),
        (["--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1"], "gpu"),
        (["--sdk_container_image=mine"], None),
        (["--no_such_flag=1"], None),
    ],
)
def test_the_launcher_knows_the_image_of_the_workers(
    flags: list[str], image: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEAM_EXPORT_CPU_IMAGE", "cpu")
    monkeypatch.setenv("BEAM_EXPORT_GPU_IMAGE", "gpu")
    given = ["--input=gs://b/in", "--output_dir=gs://b/out", "--runner=DataflowRunner", *flags]
    image_flags = loaded("main").image_flags
    assert image_flags(given) == ([f"--sdk_container_image={image}"] if image else [])
    # An image that was built by hand knows none.
    monkeypatch.setenv("BEAM_EXPORT_CPU_IMAGE", "")
    monkeypatch.setenv("BEAM_EXPORT_GPU_IMAGE", "")
    assert image_flags(given) == []


def test_labels_of_a_job_are_none_of_its_classes() -> None:
    """The launcher gives those of a launch as JSON, in a flag that `export` has too."""
    flags = ["--labels=folder", '--labels={\n "team": "vision"\n}\n', "--input=a", "--output_dir=b"]
    command = parse_export(loaded("main").with_own_names(flags))
    assert command.options.labels == "folder"
    assert PipelineOptions(command.beam_flags).view_as(GoogleCloudOptions).labels == [
        '{\n "team": "vision"\n}\n'
    ]


@pytest.mark.parametrize("extra", ["gcp", "gpu", "gpu-cu13", "heif"])
def test_what_an_image_installs_is_pinned(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    tools = SimpleNamespace(setup=given.update, find_packages=lambda **_: [])
    monkeypatch.setitem(sys.modules, "setuptools", tools)
    runpy.run_path(str(ROOT / "setup.py"))
    asked = [Requirement(one) for one in given["extras_require"][extra]]
    pins = (ROOT / "requirements.txt").read_text().splitlines()
    pairs = [pin.split("==") for pin in pins if not pin.startswith("#")]
    pinned = {canonicalize_name(name): version for name, version in pairs}
    assert asked
    for one in asked:
        assert one.specifier.contains(pinned[canonicalize_name(one.name)])


def gcloud_environ(folder: Path) -> dict[str, str]:
    """Returns an environment in which gcloud knows nobody, and tells nobody."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "CLOUDSDK_CONFIG": str(folder),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
    }


@pytest.mark.slow
def test_gcloud_takes_the_metadata(tmp_path: Path) -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    command = [
        *("gcloud", "dataflow", "flex-template", "build", "gs://bucket/template.json"),
        *("--image=image:1", "--sdk-language=PYTHON", f"--metadata-file={METADATA}"),
        *("--print-only", "--project=p"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=gcloud_environ(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert '"beam_export"' in done.stdout


@pytest.mark.slow
def test_gcloud_publishes_the_template_and_launches_a_job(
    emulator: Emulator, bucket: str, tmp_path: Path
) -> None:
    """Against the loopback interface: a template in a bucket, and what Dataflow is asked for."""
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    with Launcher() as launcher:
        environ = {
            **gcloud_environ(tmp_path),
            "CLOUDSDK_CORE_PROJECT": "test-project",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW": f"{launcher.url}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{emulator.url}/storage/v1/",
        }

        def gcloud(*words: str) -> str:
            command = ["gcloud", "dataflow", "flex-template", *words]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=120, env=environ
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        template = f"{bucket}/templates/beam_export.json"
        image = "us-docker.pkg.dev/p/r/beam_export:gpu"
        words = ["--sdk-language=PYTHON", f"--metadata-file={METADATA}"]
        gcloud("build", template, f"--image={image}", *words)
        said = gcloud(
            *("run", "export-1", "--region=us-central1"),
            f"--template-file-gcs-location={template}",
            *(f"--staging-location={bucket}/staging", f"--temp-location={bucket}/temp"),
            *("--worker-machine-type=n2-standard-4", "--max-workers=8"),
            "--parameters=^~^input=gs://b/a,gs://b/c~output_dir=gs://b/out~order=shuffled",
            f"--parameters=gpu=nvidia-l4,sdk_container_image={image}",
        )
    spec = json.loads(emulator.get(template))
    assert spec["image"] == image
    assert spec["sdkInfo"] == {"language": "PYTHON"}
    known = {parameter["name"] for parameter in spec["metadata"]["parameters"]}
    assert known == {parameter["name"] for parameter in parameters()}
    assert "JOB_STATE_QUEUED" in said
    ((path, asked),) = launcher.asked
    assert path.startswith("/v1b3/projects/test-project/locations/us-central1/flexTemplates:launch")
    launch = asked["launchParameter"]
    assert launch["containerSpecGcsPath"] == template
    assert launch["environment"]["maxWorkers"] == 8
    given = launch["parameters"]
    assert given.keys() <= known
    # And so the launcher in the image calls the command.
    command = parse_export([f"--{name}={value}" for name, value in given.items()])
    assert command.input == "gs://b/a,gs://b/c"
    assert (command.options.order, command.options.gpu) == ("shuffled", "nvidia-l4")
    assert command.beam_flags == [f"--sdk_container_image={image}"]


class Launcher:
    """Answers as Dataflow does to whoever launches a job, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        launcher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                launcher.asked.append((self.path, json.loads(body)))
                job = {"id": "2026-01-01_00_00_00-1", "currentState": "JOB_STATE_QUEUED"}
                data = json.dumps({"job": job}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Launcher:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
