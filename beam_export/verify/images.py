"""Whether an image is whole, and of the size that is told of it: each is decoded in full."""

from __future__ import annotations

from collections.abc import Iterator

from beam_export.errors import SampleError
from beam_export.images import watch
from beam_export.images.encoder import EncodeSpec
from beam_export.images.header import lift_guards, silence_pillow
from beam_export.images.probe import probe_pixels
from beam_export.sources.entries import IMAGE_SUFFIXES
from beam_export.sources.tar.webdataset import split_member

__all__ = ["ImageCheck"]


class ImageCheck:
    """Decodes images within the limits of the export."""

    def __init__(self, max_pixels: int, max_image_bytes: int, damaged: str = "fail") -> None:
        self._spec = EncodeSpec(
            mode="never",
            max_pixels=max_pixels,
            max_image_bytes=max_image_bytes,
            damaged=damaged,
        )

    def open(self) -> None:
        """Makes Pillow ready, once a process."""
        lift_guards(self._spec.max_pixels)
        silence_pillow()
        watch.begin()

    def wants(self, name: str, size: int) -> bool:
        """Tells whether a member is an image that may be held."""
        split = split_member(name)
        suffix = split[1].rpartition(".")[2].lower() if split else ""
        return suffix in IMAGE_SUFFIXES and size <= self._spec.max_image_bytes

    def problems(
        self, name: str, data: bytes, width: int | None, height: int | None
    ) -> Iterator[str]:
        """Yields what is wrong with an image of an export of ours.

        Args:
            name: of its member.
            data: its bytes.
            width, height: what its row says; None if it could not be read when it was stored.
        """
        if width is None or height is None:
            # `--encode=never` stores what nobody could read, and says so by having no size.
            return
        try:
            found = probe_pixels(data, self._spec)
        except SampleError as error:
            yield f"it cannot be decoded ({error.message})"
            return
        if (found.width, found.height) != (width, height):
            yield (
                f"it has {found.width} x {found.height} pixels, and its row says {width} x {height}"
            )
        ext = name.rpartition(".")[2]
        if found.format != {"jpeg": "jpg", "tif": "tiff"}.get(ext, ext):
            yield f"its content is {found.format}, and its name says {ext}"

    def fault(self, data: bytes) -> str | None:
        """Returns why an image cannot be decoded, or None if it can."""
        try:
            probe_pixels(data, self._spec)
        except SampleError as error:
            return error.message
        return None
