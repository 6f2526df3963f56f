"""Encodes one image in a process of its own, so that a crash is the image's failure.

A server process is started once and forks for every image. The fork has limits of memory and time
that follow from the image's size (`limits`), so that its failure depends on the image alone. This
guards against codecs that crash, and is no defence against images made to take a machine over.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
from typing import IO

from PIL import Image

from beam_export.errors import RunError, SampleError
from beam_export.images import limits
from beam_export.images.encoder import EncodeSpec, ImageInput, Result
from beam_export.images.memory_budget import budget, unbounded
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.watch import is_asleep, pulse

__all__ = ["Sandbox", "main"]

#: Seconds between the two limits of processor time: a signal, then the end.
_GRACE = 5
#: Bytes per pixel that are taken from the budget of memory.
_HELD_PER_PIXEL = 20
_LENGTH = struct.Struct(">BQ")
_RESULT, _LOST = 0, 1
_PR_SET_PDEATHSIG = 1
_NO_MEMORY = 3


class Sandbox:
    """Encodes with Pillow, each image in a process of its own; starts its server when needed."""

    def __init__(self, spec: EncodeSpec) -> None:
        self._spec = spec
        self._server: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()

    def encode(self, image: ImageInput) -> Result:
        """Returns the result of `PillowEncoder` for an image; a failure `Crashed` if it crashes.

        Raises:
            RunError: if the server cannot be started, or has ended.
        """
        with self._turn, self._held(image):
            try:
                server = self._server or self._start()
                assert server.stdin is not None
                assert server.stdout is not None
                _send(server.stdin, 0, pickle.dumps(image, protocol=5))
                kind, answer = _receive(server.stdout)
            except (OSError, EOFError) as error:
                self.close()
                raise RunError(
                    "the process that images are tried in has ended: run again, with more memory."
                ) from error
        if kind == _RESULT:
            result: Result = pickle.loads(answer)
            return result
        return SampleError("decode", "Crashed", answer.decode())

    def _held(self, image: ImageInput) -> contextlib.AbstractContextManager[None]:
        """Takes an image's memory from this process's budget, since the server has none."""
        found = limits.read_declared_size(image) if isinstance(image, bytes) else None
        return budget().taken(
            _HELD_PER_PIXEL * min(found.pixels, self._spec.max_pixels) if found else 0
        )

    def close(self) -> None:
        """Ends the server."""
        server, self._server = self._server, None
        if server is not None:
            server.kill()
            server.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "beam_export.images.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._server.stdin is not None
        _send(self._server.stdin, 0, pickle.dumps(self._spec, protocol=5))
        return self._server


def _send(target: IO[bytes], kind: int, data: bytes) -> None:
    target.write(_LENGTH.pack(kind, len(data)))
    target.write(data)
    target.flush()


def _receive(source: IO[bytes]) -> tuple[int, bytes]:
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    kind, length = _LENGTH.unpack(head)
    data = source.read(length)
    if len(data) < length:
        raise EOFError
    return kind, data


def main() -> None:
    """Serves images from stdin until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As whoever started the run may have had it, nobody could tell how an image's process ends.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    unbounded()
    encoder = PillowEncoder(pickle.loads(_receive(sys.stdin.buffer)[1]))
    encoder.open()
    Image.init()
    while True:
        try:
            _, data = _receive(sys.stdin.buffer)
        except EOFError:
            return
        _send(sys.stdout.buffer, *_try(encoder, pickle.loads(data)))


def _try(encoder: PillowEncoder, image: ImageInput) -> tuple[int, bytes]:
    """Returns (kind, answer): the pickled result, or why the process was lost."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _encode(encoder, image, theirs)
    os.close(theirs)
    try:
        answer = _read_until_it_sleeps(ours, child)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return _LOST, _reason(signal.SIGXCPU)
    finally:
        os.close(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (_RESULT, answer) if status == 0 else (_LOST, _reason(-status))


def _read_until_it_sleeps(source: int, child: int) -> bytes:
    """Returns what a process writes before it ends.

    Checks are counted instead of seconds, which pass while either process is stopped too.

    Raises:
        TimeoutError: if it sleeps and writes nothing.
    """
    parts: list[bytes] = []
    before, asleep = pulse(f"/proc/{child}"), 0
    while asleep < (limits.MAX_ASLEEP if before else limits.MAX_UNKNOWN):
        if select.select([source], [], [], limits.CHECK_EVERY)[0]:
            part = os.read(source, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
            asleep = 0
            continue
        now = pulse(f"/proc/{child}")
        asleep = asleep + 1 if before is None or now is None or is_asleep(before, now) else 0
        before = now
    raise TimeoutError


def _reason(how: int) -> bytes:
    """Returns why a process ended: by a signal, or for lack of memory (-3)."""
    if how == signal.SIGXCPU:
        return b"it took its codec longer than an image of its size may take"
    if how in (-_NO_MEMORY, signal.SIGKILL):
        return b"it took its codec more memory than an image of its size may take"
    name = signal.Signals(how).name if how in signal.valid_signals() else "an error"
    return f"its codec crashed ({name})".encode()


def _encode(encoder: PillowEncoder, image: ImageInput, target: int) -> None:
    """Encodes an image, writes the pickled result, and ends this process."""
    status = 1
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        seconds = limits.cpu_seconds(limits.declared_size(image, encoder.spec))
        most = _memory_in_use() + limits.most_memory(image, encoder.spec)
        _limit(resource.RLIMIT_CORE, 0, 0)
        # At the hard limit the system kills it, which reads as a lack of memory.
        _limit(resource.RLIMIT_CPU, seconds, seconds + _GRACE)
        _limit(resource.RLIMIT_AS, most, most)
        answer = pickle.dumps(encoder.encode_batch([image])[0], protocol=5)
        sent = 0
        while sent < len(answer):
            sent += os.write(target, answer[sent : sent + (1 << 20)])
        status = 0
    except MemoryError:
        status = _NO_MEMORY
    finally:
        os._exit(status)


def _limit(what: int, soft: int, hard: int) -> None:
    """Sets limits, no higher than the hard limit of this process."""
    given = resource.getrlimit(what)[1]
    if given != resource.RLIM_INFINITY:
        soft, hard = min(soft, given), min(hard, given)
    resource.setrlimit(what, (soft, hard))


def _memory_in_use() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 30


if __name__ == "__main__":
    main()
