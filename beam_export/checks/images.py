"""Whether an image is whole, and of the size that is told of it: each is decoded in full."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from PIL import Image

from beam_export.encoders import EncodeSpec
from beam_export.encoders.header import (
    failure,
    lift_guards,
    open_image,
    read_size,
    silence_pillow,
    sniff,
)
from beam_export.errors import SampleError
from beam_export.pairing import IMAGE_SUFFIXES
from beam_export.webdataset import split_member

__all__ = ["ImageCheck"]


class ImageCheck:
    """Decodes images within the limits of the export.

    Args:
        spec: its limits.
    """

    def __init__(self, spec: EncodeSpec) -> None:
        self._spec = spec

    def open(self) -> None:
        """Makes Pillow ready, once a process."""
        lift_guards(self._spec.max_pixels)
        silence_pillow()

    def wants(self, name: str, size: int) -> bool:
        """Tells whether a member is an image that may be held."""
        split = split_member(name)
        suffix = split[1].rpartition(".")[2] if split else ""
        return suffix in IMAGE_SUFFIXES and size <= self._spec.max_image_bytes

    def problems(
        self, name: str, data: bytes, width: int | None, height: int | None
    ) -> Iterator[str]:
        """Yields what is wrong with an image.

        Args:
            name: of its member.
            data: its bytes.
            width, height: what its row says; None if it could not be read when it was stored.
        """
        if width is None or height is None:
            # `--encode=never` stores what nobody could read, and says so by having no size.
            return
        try:
            size = self._decode(data)
        except SampleError as error:
            yield f"it cannot be decoded ({error.message})"
            return
        if size != (width, height):
            yield f"it has {size[0]} x {size[1]} pixels, and its row says {width} x {height}"
        ext = name.rpartition(".")[2]
        if sniff(data) != {"jpeg": "jpg", "tif": "tiff"}.get(ext, ext):
            yield f"its content is {sniff(data)}, and its name says {ext}"

    def decode(self, data: bytes) -> str | None:
        """Returns why an image cannot be decoded, or None if it can."""
        try:
            self._decode(data)
        except SampleError as error:
            return error.message
        return None

    def _decode(self, data: bytes) -> tuple[int, int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(data, self._spec) as image:
                size = read_size(data, self._spec) or image.size
                _load(image, data)
        return size


def _load(image: Image.Image, data: bytes) -> None:
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        # Whatever a codec raises, it is of the image.
        raise failure("decode", error, data) from error
