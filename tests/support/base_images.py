"""Stands in for the images that the Dockerfile begins with, made of what package registries have.

* Python's slim image: Debian of the same name, with Debian's Python of the same version.
* Beam's: what starts workers, built of its source; its Python and its packages are never used.
* Google's for Flex Templates: a launcher of the tests (`support/flex_launcher.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

__all__ = ["BASES", "GOOGLE_LAUNCHER"]

GOOGLE_LAUNCHER = "/opt/google/dataflow/python_template_launcher"
#: All that Debian's Python needs to be like that of the slim image: pip, and `venv`.
PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")


def debian_with_python(root: Path, tag: str) -> None:
    """Makes the root of `python:3.11-slim-bookworm`."""
    found = re.fullmatch(r"(3\.\d+)-slim-(\w+)", tag)
    assert found is not None, f"python:{tag} is no slim image"
    version, release = found.groups()
    include = f"--include={','.join(PACKAGES)}"
    _call("debootstrap", "--variant=minbase", include, release, str(root))
    # Debian keeps its Python from pip, and leaves `python` to others.
    (root / f"usr/lib/python{version}/EXTERNALLY-MANAGED").unlink()
    (root / "usr/local/bin/python").symlink_to(f"/usr/bin/python{version}")
    shutil.rmtree(root / "var/lib/apt/lists")
    for archive in (root / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
    # Where the machine's own are lent to processes.
    for name in ("resolv.conf", "hosts", "pip.conf"):
        (root / "etc" / name).touch()


def beam_sdk(root: Path, tag: str) -> None:
    """Makes `/opt/apache/beam` of Beam's image, of the source of that version."""
    folder = root / "opt/apache/beam"
    folder.mkdir(parents=True)
    package = f"github.com/apache/beam/sdks/v2/python/container@v{tag}"
    _call("go", "install", package, GOBIN=str(folder), CGO_ENABLED="0")
    (folder / "container").rename(folder / "boot")


def flex_template_base(root: Path, tag: str) -> None:
    """Puts the launcher of the tests where Google's is."""
    place = root / GOOGLE_LAUNCHER.lstrip("/")
    place.parent.mkdir(parents=True)
    shutil.copy2(Path(__file__).with_name("flex_launcher.py"), place)
    place.chmod(0o755)


def _call(*command: str, **environ: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environ}, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


BASES = {
    "python": debian_with_python,
    "apache/beam_python3.11_sdk": beam_sdk,
    "gcr.io/dataflow-templates-base/python311-template-launcher-base": flex_template_base,
}
