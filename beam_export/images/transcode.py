"""Copies an image as it is or has it encoded, by the same rules for every encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence

from beam_export.errors import SampleError
from beam_export.images import header
from beam_export.images.encoder import Encoder, EncodeSpec, ImageInput, Result
from beam_export.images.jpeg import inspect as jpeg
from beam_export.samples import EncodedImage

__all__ = ["name_of", "transcode_batch"]

_EXTENSION = re.compile(r"[a-z0-9]{1,16}")


def transcode_batch(
    images: Sequence[ImageInput], source_exts: Sequence[str], encoder: Encoder
) -> list[Result]:
    """Returns images copied or encoded, as the encoder's spec says; a bad one as a SampleError.

    `auto` copies a whole JPEG that every reader takes when no resize is asked for; `never` copies
    everything; all else goes to the encoder, in one batch.

    Args:
        images: encoded bytes or pixels.
        source_exts: extension of each image's source, `""` for none; under `never` it names the
            member if the content is of no known format.
        encoder: opened by the caller.

    Returns:
        As many results as images, in their order.
    """
    results: list[Result | None] = [
        _without_encoding(image, ext, encoder.spec)
        for image, ext in zip(images, source_exts, strict=True)
    ]
    rest = [at for at, result in enumerate(results) if result is None]
    encoded = encoder.encode_batch([images[at] for at in rest]) if rest else []
    for at, result in zip(rest, encoded, strict=True):
        results[at] = result
    return [result for result in results if result is not None]


def _without_encoding(image: ImageInput, ext: str, spec: EncodeSpec) -> Result | None:
    """Returns the result of an image that needs no encoder; None for one that does."""
    if not isinstance(image, bytes):
        if spec.mode != "never":
            return None
        message = "the image is an array, which has no bytes to copy; use another mode than never"
        return SampleError("encode", "ValueError", message)
    try:
        header.check_bytes(image, spec)
        if spec.mode == "never":
            return _as_it_came(image, ext, spec)
        return _copy(image, spec) if spec.mode == "auto" else None
    except SampleError as error:
        return header.failure(error.stage, error)


def _copy(data: bytes, spec: EncodeSpec) -> EncodedImage | None:
    """Returns a JPEG that may be copied; None for anything else."""
    if spec.resizes:
        return None
    try:
        facts = jpeg.inspect(data)
    except ValueError:
        # Not a JPEG, or not whole: the encoder decodes it or says what is wrong with it.
        return None
    if not jpeg.is_copyable(facts):
        return None
    header.check_pixels(facts.width * facts.height, spec)
    return EncodedImage(data, "jpg", facts.width, facts.height, "copied")


def _as_it_came(data: bytes, source_ext: str, spec: EncodeSpec) -> EncodedImage:
    width, height = header.read_size(data, spec) or (None, None)
    return EncodedImage(data, name_of(data, source_ext, spec), width, height, "copied")


def name_of(data: bytes, source_ext: str, spec: EncodeSpec) -> str:
    """Returns the extension of an image's member in the tar.

    >>> name_of(b"GIF89a", "png", EncodeSpec()), name_of(b"GIF89a", "png", EncodeSpec(mode="never"))
    ('jpg', 'gif')
    >>> name_of(b"...", ".HEIC", EncodeSpec(mode="never"))
    'heic'
    """
    if spec.mode != "never":
        return "jpg"
    ext = header.sniff(data) or source_ext.lower().lstrip(".")
    return ext if _EXTENSION.fullmatch(ext) else "bin"
