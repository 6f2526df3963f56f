"""Decodes images that may have crashed a worker in a process of their own.

Digests of a batch's images are written to a note, which is deleted after the batch. A note found
when a worker starts is therefore from a worker that crashed or is still running: its images are
encoded one by one in the sandbox, with the same bytes as result.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from beam_export.images import watch
from beam_export.images.encoder import Encoder, ImageInput, Result
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.sandbox import Sandbox

__all__ = ["GuardedEncoder", "Notes", "guarded"]

_DIGEST = hashlib.sha256().digest_size
#: Bytes of each end of an image that its digest covers. Two images that differ only in between are
#: suspected together, which costs no image; a digest of everything would cost time for each.
_END = 4096


class Notes(Protocol):
    """A place where notes outlive the process that wrote them, such as the output directory."""

    @property
    def is_local(self) -> bool:
        """Whether notes are files of this machine: on an object store each would be a request."""

    def note(self, name: str, content: bytes) -> str:
        """Writes a note; returns the name that `remove` takes."""

    def notes(self) -> list[bytes]:
        """Returns the contents of all notes of the run."""

    def remove(self, name: str) -> None:
        """Removes a note."""


def guarded(encoder: Encoder, notes: Notes, *, cautious: bool = False) -> Encoder:
    """Returns an encoder that isolates images that may crash it, where notes are cheap.

    Args:
        encoder: Pillow's; any other comes back as it is.
        notes: of the run; where they are not local, the encoder comes back as it is too.
        cautious: whether every image is encoded in the sandbox.
    """
    if isinstance(encoder, PillowEncoder) and notes.is_local:
        return GuardedEncoder(encoder, notes, cautious)
    return encoder


class GuardedEncoder:
    """Encodes with Pillow, and in the sandbox the images that were noted before it was opened."""

    def __init__(self, encoder: PillowEncoder, notes: Notes, cautious: bool) -> None:
        self.spec = encoder.spec
        self._encoder, self._notes, self._cautious = encoder, notes, cautious
        self._suspects: frozenset[bytes] = frozenset()
        self._sandbox = Sandbox(encoder.spec)

    def __getstate__(self) -> dict[str, Any]:
        return {"encoder": self._encoder, "notes": self._notes, "cautious": self._cautious}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def open(self) -> None:
        """Makes ready to encode, and reads which images are suspected."""
        self._suspects = frozenset(
            note[at : at + _DIGEST]
            for note in self._notes.notes()
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
        """Keeps a note of images while the block runs; it stays if the block fails or crashes."""
        name = self._notes.note(uuid.uuid4().hex, digests)
        yield
        self._notes.remove(name)


def _digest(image: ImageInput) -> bytes:
    if isinstance(image, np.ndarray):
        image = repr((image.shape, image.dtype)).encode() + image.tobytes()
    if not isinstance(image, bytes):
        image = b""  # an array of a GPU, say: Pillow refuses it without decoding
    digest = hashlib.sha256(b"%d:" % len(image) + image[:_END])
    digest.update(image[-_END:])
    return digest.digest()
