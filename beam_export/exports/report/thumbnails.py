"""Makes small JPEGs of stored images, each in a process of its own that may crash."""

from __future__ import annotations

from beam_export.errors import SampleError
from beam_export.images.encoder import EncodeSpec
from beam_export.images.sandbox import Sandbox

__all__ = ["LARGEST_SIDE", "Thumbnails"]

#: Pixels of a thumbnail's longer side.
LARGEST_SIDE = 256
_QUALITY = 72


class Thumbnails:
    """Makes thumbnails; a context that ends the processes that it has started."""

    def __init__(self) -> None:
        # An icon is not enlarged: what it is shows better as it is.
        self._shrinks = Sandbox(_spec(LARGEST_SIDE))
        self._keeps = Sandbox(_spec(None))

    def __enter__(self) -> Thumbnails:
        return self

    def __exit__(self, *_: object) -> None:
        self._shrinks.close()
        self._keeps.close()

    def make(self, image: bytes, sides: tuple[int | None, int | None]) -> bytes | SampleError:
        """Returns an upright JPEG of an image, as far as it decodes; or why there is none.

        Args:
            image: as it is stored.
            sides: width and height, as far as they are known.

        Raises:
            RunError: if no process can be started.
        """
        small = all(side is not None and side <= LARGEST_SIDE for side in sides)
        made = (self._keeps if small else self._shrinks).encode(image)
        return made if isinstance(made, SampleError) else made.data


def _spec(resize: int | None) -> EncodeSpec:
    return EncodeSpec(
        mode="always",
        quality=_QUALITY,
        resize=resize,
        resize_mode="keep_ratio_largest",
        damaged="keep",
    )
