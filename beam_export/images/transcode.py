"""Copies an image as it is or has it encoded, by the same rules for every encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence

from beam_export.errors import SampleError
from beam_export.images import header
from beam_export.images.encoder import Encoder, EncodeSpec, ImageInput, Result
from beam_export.images.geometry import read_orientation
from beam_export.images.icc import is_srgb
from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.jpeg import segments
from beam_export.images.jpeg.carried import read_carried
from beam_export.images.uniform import RGB, SRGB, UPRIGHT
from beam_export.samples import EncodedImage

__all__ = [
    "ENSURED",
    "is_copied",
    "lacks_of_jpeg",
    "may_copy",
    "name_of",
    "transcode_batch",
    "without_encoding",
]

#: The remark on JPEGs that would be copied but for `--ensure`; with `_` and one of its words behind
#: it, on those that were not what the word says.
ENSURED = "ensured"

_EXTENSION = re.compile(r"[a-z0-9]{1,16}")


def transcode_batch(
    images: Sequence[ImageInput], source_exts: Sequence[str], encoder: Encoder
) -> list[Result]:
    """Returns images copied or encoded, as the encoder's spec says; a bad one as a SampleError.

    `auto` copies a whole JPEG that every reader takes when no resize is asked for, and that is what
    `ensure` names; `never` copies everything; all else goes to the encoder, in one batch.

    Args:
        images: encoded bytes or pixels.
        source_exts: extension of each image's source, `""` for none; under `never` it names the
            member if the content is of no known format.
        encoder: opened by the caller.

    Returns:
        As many results as images, in their order.
    """
    results: list[Result | None] = [
        without_encoding(image, ext, encoder.spec)
        for image, ext in zip(images, source_exts, strict=True)
    ]
    rest = [at for at, result in enumerate(results) if result is None]
    encoded = encoder.encode_batch([images[at] for at in rest]) if rest else []
    for at, result in zip(rest, encoded, strict=True):
        results[at] = _with_reasons(result, images[at], encoder.spec)
    return [result for result in results if result is not None]


def may_copy(spec: EncodeSpec) -> bool:
    """Returns whether there can be images that need no encoder."""
    return spec.mode == "never" or (spec.mode == "auto" and not spec.resizes)


def without_encoding(image: ImageInput, ext: str, spec: EncodeSpec) -> Result | None:
    """Returns the result of an image that needs no encoder; None for one that does.

    Args:
        image: encoded bytes or pixels.
        ext: as of `transcode_batch`.
        spec: of the encoder.
    """
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


def is_copied(data: bytes, spec: EncodeSpec) -> bool:
    """Returns whether an encoded image needs no encoder."""
    return isinstance(without_encoding(data, "", spec), EncodedImage)


def _copy(data: bytes, spec: EncodeSpec) -> EncodedImage | None:
    """Returns a JPEG that is copied; None for anything else."""
    found = _copyable(data, spec)
    return None if found is None or _misses(found, spec) else found


def _misses(image: EncodedImage, spec: EncodeSpec) -> list[str]:
    """Returns what an image is to be, and is not."""
    return [word for word in image.lacks if word in spec.ensure]


def _with_reasons(result: Result, image: ImageInput, spec: EncodeSpec) -> Result:
    """Returns the result of an encoder, with remarks if `ensure` alone made the encoder's work."""
    if not spec.ensure or spec.mode != "auto" or not isinstance(image, bytes):
        return result
    if isinstance(result, SampleError) or (found := _copyable(image, spec)) is None:
        return result
    reasons = tuple(f"{ENSURED}_{word}" for word in _misses(found, spec))
    return result._replace(remarks=(*result.remarks, ENSURED, *reasons))


def _copyable(data: bytes, spec: EncodeSpec) -> EncodedImage | None:
    """Returns a JPEG that may be copied, whatever `ensure` names; None for anything else."""
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
    lacks = lacks_of_jpeg(data, gray=facts.components == 1)
    return EncodedImage(data, "jpg", facts.width, facts.height, "copied", lacks=lacks)


def lacks_of_jpeg(data: bytes, gray: bool) -> tuple[str, ...]:
    """Returns which of `uniform.WORDS` a JPEG that is stored as it is is not.

    Args:
        data: the JPEG.
        gray: whether it has one component.
    """
    exif, profile = read_carried(data)
    if not exif and profile is None:
        return (RGB,) if gray else ()
    lacks = []
    if exif and read_orientation(exif) != 1:
        lacks.append(UPRIGHT)
    # By what it does to pixels, as names and bytes of profiles of sRGB differ.
    if profile is not None and not is_srgb(profile, gray):
        lacks.append(SRGB)
    if gray:
        lacks.append(RGB)
    return tuple(lacks)


def _as_it_came(data: bytes, source_ext: str, spec: EncodeSpec) -> EncodedImage:
    width, height = header.read_size(data, spec) or (None, None)
    ext = name_of(data, source_ext, spec)
    gray = ext == "jpg" and segments.frame_components(data) == 1
    lacks = lacks_of_jpeg(data, gray) if ext == "jpg" else ()
    return EncodedImage(data, ext, width, height, "copied", lacks=lacks)


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
