#!/usr/bin/env python
"""Stands in for Google's launcher of Flex Templates, as its documentation and its logs describe it.

It runs the program of `FLEX_TEMPLATE_PYTHON_PY_FILE` with each parameter and each setting of the
environment as a flag, in alphabetical order, for a job that is only described, at the place where
Dataflow looks for it. What it is called with is JSON: jobName, jobObjectLocation, projectId,
parameters, environment.

Source: docs.cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates, under
"Environment variables".
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

#: Settings of a launch whose flags of Beam have other names than their own in snake case.
NAMES = {
    "ipConfiguration": "use_public_ips",
    "maxWorkers": "max_num_workers",
    "numWorkers": "num_workers",
    "serviceAccountEmail": "service_account_email",
    "additionalUserLabels": "labels",
    "additionalExperiments": "experiments",
}
#: Each of them is said once in the image, and would be installed on each worker.
INSTALLS = {
    "FLEX_TEMPLATE_PYTHON_REQUIREMENTS_FILE": "requirements_file",
    "FLEX_TEMPLATE_PYTHON_SETUP_FILE": "setup_file",
    "FLEX_TEMPLATE_PYTHON_EXTRA_PACKAGES": "extra_package",
}


def flags_of(launch: dict) -> list[str]:
    """Returns the flags of a launch."""
    given = {
        "runner": "DataflowRunner",
        "project": launch["projectId"],
        "job_name": launch["jobName"],
        "template_location": launch["jobObjectLocation"],
        **launch["parameters"],
    }
    for name, value in launch["environment"].items():
        flag = NAMES.get(name) or re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
        given[flag] = json.dumps(value, indent=3) + "\n" if isinstance(value, dict) else value
    for name, flag in INSTALLS.items():
        if name in os.environ:
            given[flag] = os.environ[name]
    return [f"--{name}={value}" for name, value in sorted(given.items())]


def main() -> int:
    """Runs the pipeline's program, and returns its exit code."""
    (argument,) = sys.argv[1:]
    name, _, text = argument.partition("=")
    if name.lstrip("-") != "template-container-args":
        print(f"flag provided but not defined: {name}", file=sys.stderr)
        return 2
    options = shlex.split(os.environ.get("FLEX_TEMPLATE_PYTHON_PY_OPTIONS", ""))
    program = os.environ["FLEX_TEMPLATE_PYTHON_PY_FILE"]
    command = ["python", *options, program, *flags_of(json.loads(text))]
    print(f"Executing: {shlex.join(command)}", flush=True)
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
