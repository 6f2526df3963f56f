"""Finds inputs so small that one process copies them sooner than workers could start."""

from __future__ import annotations

from beam_export.errors import SampleError
from beam_export.images.encoder import EncodeSpec
from beam_export.images.factory import choose_encoder
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.transcode import is_copied
from beam_export.options import ExportOptions
from beam_export.samples import Member
from beam_export.sources.contents import FOLDER_TABLE, Contents
from beam_export.sources.reader import Reader

__all__ = ["is_copied_at_once"]

#: One core copies as much in about a second, on a CPU without instructions for SHA-256 in two.
_MOST_IMAGES = 4_000
_MOST_BYTES = 128 << 20
#: Images that are looked into.
_LOOKED_INTO = 8
_JPEG_SUFFIXES = frozenset({"jpg", "jpeg", "jpe", "jfif"})
_KINDS = frozenset({"files", FOLDER_TABLE})


def is_copied_at_once(contents: Contents | None, options: ExportOptions) -> bool:
    """Returns whether one process copies an input in a second or two, and next to nothing else.

    Nothing but the structure of JPEGs is read for that, by Python. An image that has to be decoded
    after all goes to the sandbox: the few that are looked into only show that this is rare.

    Args:
        contents: of the input, None if they are not known.
        options: of the export.

    Raises:
        InputError: if the encoder that is asked for is not there.
    """
    if contents is None or not contents.kinds <= _KINDS or contents.suffixes - _JPEG_SUFFIXES:
        return False
    if len(contents.images) > _MOST_IMAGES or contents.bytes > _MOST_BYTES:
        return False
    spec = options.spec()
    if spec.mode != "auto" or spec.resizes or options.lookups or options.probe != "off":
        return False
    encoder = choose_encoder(spec, options.encoder, options.device)
    step = max(1, len(contents.images) // _LOOKED_INTO)
    some = contents.images[::step][:_LOOKED_INTO]
    return isinstance(encoder, PillowEncoder) and all(_is_copied(one, spec) for one in some)


def _is_copied(image: Member, spec: EncodeSpec) -> bool:
    with Reader(spec.max_image_bytes) as reader:
        try:
            return is_copied(reader.read(image), spec)
        except (SampleError, OSError):
            # The step that reads it says what is wrong.
            return False
