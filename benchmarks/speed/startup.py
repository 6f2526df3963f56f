"""Measures what an export of one image takes against `import apache_beam`, by turns.

    python benchmarks/speed/startup.py [--runs 11]

In the process itself, as the command does by itself with so little, and with two workers; and what
`--help` takes, which imports nothing of Beam. A minute or two.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import sys
import tempfile

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.common import save, use
from benchmarks.speed.paired import spread

_ROOT = pathlib.Path(__file__).parents[2]
_IMPORT = "import apache_beam"


def commands(folder: pathlib.Path, number: int) -> dict[str, list[str]]:
    """Returns the arguments to Python of all that take turns, by name.

    Args:
        folder: where to work; it has an image in `one`.
        number: of the run, which has an output of its own.
    """
    ours = ["-m", "beam_export"]
    export = [*ours, "export", f"--input={folder / 'one'}"]
    return {
        _IMPORT: ["-c", _IMPORT],
        "in the process itself": [*export, f"--output_dir={folder / f'alone{number}'}"],
        "with two workers": [
            *export,
            f"--output_dir={folder / f'workers{number}'}",
            "--direct_num_workers=2",
        ],
        "--help": [*ours, "--help"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "one").mkdir()
        Image.new("RGB", (64, 48), (120, 40, 200)).save(folder / "one" / "a.jpg")
        for number in range(given.runs):
            for what, arguments in commands(folder, number).items():
                used = use([sys.executable, *arguments], cwd=_ROOT)
                seconds[what].append(used.wall)
    ratios = {
        what: spread([one / other for one, other in zip(found, seconds[_IMPORT], strict=True)])
        for what, found in seconds.items()
    }
    figures = {what: spread(found) for what, found in seconds.items()}
    save("startup", {"runs": given.runs, "seconds": figures, f"times {_IMPORT}": ratios})


if __name__ == "__main__":
    main()
