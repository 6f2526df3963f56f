"""Reads an image's format and size before the plan, by its header alone or by all its pixels.

Both give the failures that the encoders would give for the same bytes, with the same words.
"""

from __future__ import annotations

import contextlib

from beam_export.images import header, watch
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_decoder import decode
from beam_export.images.resize import planned_resize
from beam_export.samples import Probed

__all__ = ["HEAD_BYTES", "probe_head", "probe_pixels"]

#: Bytes of an image that are read at first, then if those are not enough, and then all of it. The
#: first are too few for a JPEG with a large thumbnail or profile, and for formats whose header may
#: stand anywhere.
HEAD_BYTES = (1 << 16, 1 << 20)


def probe_head(head: bytes, whole: bool, spec: EncodeSpec) -> Probed | None:
    """Returns format and size of an image by its first bytes; None if more bytes are needed.

    Args:
        head: the first bytes, or all.
        whole: whether `head` is the whole image.
        spec: limits.

    Raises:
        SampleError: if it has too many pixels, or if it is whole and cannot be read.
    """
    if not whole:
        kind, size = header.sniff(head), header.read_size(head, spec)
        return Probed(*size, kind) if size and kind else None
    header.check_bytes(head, spec)
    return _facts(head, spec)


def probe_pixels(data: bytes, spec: EncodeSpec) -> Probed:
    """Returns format and size of an image that was decoded, as a test that it can be.

    Raises:
        SampleError: if it cannot be decoded, or not be encoded where `spec` encodes it.
        MemoryError: if an image within the limits does not fit into memory.
    """
    stage = "decode"
    try:
        with watch.at_work(), contextlib.ExitStack() as held:
            size = decode(data, spec, held).size
            stage = "encode"
            if spec.mode != "never":
                planned_resize(size, spec)
    except MemoryError:
        raise
    except Exception as error:
        raise header.failure(stage, error, data) from error
    return _facts(data, spec)


def _facts(data: bytes, spec: EncodeSpec) -> Probed:
    try:
        kind, size = header.sniff(data), header.read_size(data, spec)
        if kind is None or size is None:
            # Pillow may read it nevertheless, or says why it cannot.
            with header.open_image(data, spec) as im:
                kind = kind or str(im.format).lower()
                size = size or im.size
    except MemoryError:
        raise
    except Exception as error:
        raise header.failure("decode", error, data) from error
    return Probed(*size, kind)
