"""Prints how large the images of templates/Dockerfile are, layer by layer, built without Docker.

    python benchmarks/image_sizes.py [worker|template] [VARIANT=cpu|gpu] [EXTRAS=...]

Needs root, overlayfs, debootstrap and Go (`make images`). Debian's own Python stands in for the
slim image of Python, a launcher of the tests for Google's: their layers have those sizes.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.base_images import BASES  # noqa: E402 (the path is set above)
from support.images import Builder  # noqa: E402


def main() -> None:
    """Prints a Markdown table of the layers, and their sum."""
    target = next((word for word in sys.argv[1:] if "=" not in word), "worker")
    arguments = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    text = (ROOT / "templates" / "Dockerfile").read_text(encoding="utf-8")
    cache = ROOT / ".images"
    image = Builder(text, context=ROOT, cache=cache, bases=BASES).build(target, **arguments)
    print("| layer | MB |\n|---|---|")
    for layer in image.layers:
        print(f"| `{layer.says}` | {layer.size() / 1e6:.1f} |")
    print(f"| all | {sum(layer.size() for layer in image.layers) / 1e6:.0f} |")


if __name__ == "__main__":
    main()
