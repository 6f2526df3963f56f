"""Makes a folder with all that `gpu.py --codec-only` needs on a machine without a network.

    python benchmarks/speed/gpu_folder.py FOLDER [--python 3.12] [--cuda 13|12] [--photos DIR]
        [--mib 60]

The machine has Python of that version and, if it has a GPU, its driver: CUDA 13 takes driver 580 or
later. In FOLDER are the wheels, of the versions that requirements.txt names, 200 photographs (of
DIR, else made up), the code, and `run.sh`, which installs and measures: at most 60 MiB.
Carry the folder there, and run

    sh FOLDER/run.sh [--json FILE] [...]

with the options of `gpu.py`. The wheels come from the package index that pip is set to.
"""

from __future__ import annotations

import argparse
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.photos import make_web_photos

__all__ = ["MOST_MIB", "PHOTOS", "bytes_below", "chosen_photos", "main"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST_MIB = 60
PHOTOS = 200
#: Wheels by the version of CUDA, and those that are needed with any.
_CODEC = {
    "13": ("nvidia-nvimgcodec-cu13", "nvidia-nvjpeg"),
    "12": ("nvidia-nvimgcodec-cu12", "nvidia-nvjpeg-cu12"),
}
_OTHERS = ("numpy", "pillow", "simplejpeg")
#: Tags of wheels that a system with glibc 2.28 or later takes; pip matches each as it is written.
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
#: Made-up photographs of which some are chosen.
_MADE = 300
_RUN = """\
#!/bin/sh
# Installs what lies beside it, without a network, and measures: sh run.sh [options of gpu.py]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# CuPy and torchvision of the machine, where they are, serve as controls.
"${{PYTHON:-python{python}}}" -m venv --system-site-packages "$here/env"
"$here/env/bin/python" -m pip install --quiet --disable-pip-version-check --no-index \\
    --ignore-installed --find-links "$here/wheels" {wheels}
exec "$here/env/bin/python" "$here/benchmarks/speed/gpu.py" --codec-only \\
    --photos "$here/photos" "$@"
"""


def bytes_below(folder: pathlib.Path) -> int:
    """Returns the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def chosen_photos(folder: pathlib.Path, count: int, most_bytes: int) -> list[pathlib.Path]:
    """Returns files of a folder, from small to large, that have some bytes together at most.

    The largest are left out where they would be too many bytes; of what is left, they are spread
    over all sizes.

    Raises:
        ValueError: if there are too few, or even the smallest ones are too large.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    files.sort(key=lambda path: (path.stat().st_size, path.name))
    for held in range(len(files), count - 1, -1):
        chosen = [files[number * held // count] for number in range(count)]
        if sum(path.stat().st_size for path in chosen) <= most_bytes:
            return chosen
    raise ValueError(
        f"{folder} has {len(files)} files, of which no {count} have {most_bytes} bytes together "
        "at most: give a folder with more or smaller photographs"
    )


def _fetch_wheels(folder: pathlib.Path, python: str, wanted: Sequence[str]) -> None:
    """Has pip download wheels for another Python than the one that runs this."""
    platforms = [f"--platform={tag}_x86_64" for tag in _PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", f"--python-version={python}"]
    command += ["--implementation=cp", *platforms, f"--dest={folder}"]
    command += ["--constraint", str(ROOT / "requirements.txt"), *wanted]
    subprocess.run(command, check=True)


def _copy_code(folder: pathlib.Path) -> None:
    """Copies the Python files of the package and of benchmarks, without what git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    command += ["--", "beam_export/*.py", "benchmarks/*.py"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def _copy_photos(folder: pathlib.Path, source: pathlib.Path | None, most_bytes: int) -> None:
    folder.mkdir()
    with tempfile.TemporaryDirectory() as made:
        if source is None:
            source = pathlib.Path(made)
            make_web_photos(source, _MADE)
        for number, path in enumerate(chosen_photos(source, PHOTOS, most_bytes)):
            shutil.copyfile(path, folder / f"{number:03}{path.suffix.lower()}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--python", default="3.12", help="its version on that machine")
    parser.add_argument("--cuda", choices=sorted(_CODEC), default="13", help="of the driver there")
    parser.add_argument("--photos", type=pathlib.Path, help="a folder of photographs")
    parser.add_argument("--mib", type=int, default=MOST_MIB, help="that the folder may have")
    given = parser.parse_args(arguments)
    if given.folder.exists():
        parser.error(f"{given.folder} is there already: name a new folder")
    given.folder.mkdir(parents=True)
    wheels = [*_CODEC[given.cuda], *_OTHERS]
    _fetch_wheels(given.folder / "wheels", given.python, wheels)
    _copy_code(given.folder)
    run = _RUN.format(python=given.python, wheels=shlex.join(wheels))
    (given.folder / "run.sh").write_text(run)
    left = (given.mib << 20) - bytes_below(given.folder)
    _copy_photos(given.folder / "photos", given.photos, left)
    print(f"{given.folder}: {bytes_below(given.folder) / (1 << 20):.1f} MiB; there: sh run.sh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
