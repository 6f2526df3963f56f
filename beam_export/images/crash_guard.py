"""Images that may have ended the process that decoded them are tried apart from all others.

Before a batch is decoded its images are noted, by a digest of their ends, in the workspace of the
run; a note that is still there when a process begins is of one that ended amid its batch, or of one
at work. Those images go to the sandbox. What passes there is taken from there: its bytes are the
same.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from beam_export.images import watch
from beam_export.images.encoder import Encoder, ImageInput, Result
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.sandbox import Sandbox
from beam_export.shards.output import Output

__all__ = ["GuardedEncoder", "guarded"]

_DIGEST = hashlib.sha256().digest_size
#: Bytes of each end of an image that tell it from others. Should there be two that differ only in
#: between, both are tried apart, which does no harm; a digest of all would cost each image's time.
_END = 4096


def guarded(encoder: Encoder, output: Output, *, cautious: bool = False) -> Encoder:
    """Returns an encoder that survives its images, as far as there is a place for notes.

    Args:
        encoder: of Pillow; any other comes back as it is.
        output: of the run, on this machine; notes on an object store would take too long.
        cautious: whether every image is tried apart.
    """
    if isinstance(encoder, PillowEncoder) and output.is_local:
        return GuardedEncoder(encoder, output, cautious)
    return encoder


class GuardedEncoder:
    """Encodes with Pillow, and those images apart that were noted before this began."""

    def __init__(self, encoder: PillowEncoder, output: Output, cautious: bool) -> None:
        self.spec = encoder.spec
        self._encoder, self._output, self._cautious = encoder, output, cautious
        self._suspects: frozenset[bytes] = frozenset()
        self._sandbox = Sandbox(encoder.spec)

    def __getstate__(self) -> dict[str, Any]:
        return {"encoder": self._encoder, "output": self._output, "cautious": self._cautious}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def open(self) -> None:
        """Makes ready to encode, and looks who is noted."""
        self._suspects = frozenset(
            note[at : at + _DIGEST]
            for note in self._output.notes()
            for at in range(0, len(note) - _DIGEST + 1, _DIGEST)
        )
        watch.begin()
        self._encoder.open()

    def close(self) -> None:
        """Frees what `open` made."""
        self._encoder.close()
        self._sandbox.close()

    def encode_batch(self, images: Sequence[ImageInput]) -> list[Result]:
        """Encodes images as `PillowEncoder` does; one that crashes is a failure `Crashed`."""
        digests = [_digest(image) for image in images]
        apart = [self._cautious or digest in self._suspects for digest in digests]
        rest = [image for image, alone in zip(images, apart, strict=True) if not alone]
        noted = [digest for digest, alone in zip(digests, apart, strict=True) if not alone]
        together: Iterator[Result] = iter(())
        if rest:
            with self._noted(b"".join(noted)):
                together = iter(self._encoder.encode_batch(rest))
        return [
            self._sandbox.encode(image) if alone else next(together)
            for image, alone in zip(images, apart, strict=True)
        ]

    def identity(self) -> dict[str, str]:
        """Returns what shapes the bytes, which is Pillow alone."""
        return self._encoder.identity()

    def take_counts(self) -> dict[str, int]:
        """Returns what the encoder counted."""
        return self._encoder.take_counts()

    @contextlib.contextmanager
    def _noted(self, digests: bytes) -> Iterator[None]:
        """Notes images while the block runs; the note stays if it does not end, or fails."""
        name = self._output.note(uuid.uuid4().hex, digests)
        yield
        self._output.remove(name)


def _digest(image: ImageInput) -> bytes:
    if isinstance(image, np.ndarray):
        image = repr((image.shape, image.dtype)).encode() + image.tobytes()
    if not isinstance(image, bytes):
        image = b""  # it is refused without being decoded
    digest = hashlib.sha256(b"%d:" % len(image) + image[:_END])
    digest.update(image[-_END:])
    return digest.digest()
