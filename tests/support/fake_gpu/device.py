"""The memory, the streams and the faults of a GPU that is made up, and CUDA's calls for it.

Source: CUDA driver API, "Stream Ordered Memory Allocator" (what is freed is kept by the pool up to
its threshold, and the rest given back at a synchronisation), "Error Handling" (sticky errors).
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import random
import threading
from collections.abc import Iterator, Mapping

import numpy as np

__all__ = ["Block", "Crashed", "FakeDevice", "FakeDriver", "Faults", "alone"]

#: Bytes between two addresses: more than any device has.
_APART = 1 << 40
NO_MEMORY, ILLEGAL_ADDRESS = "CUDA Runtime failure: '#2'", "CUDA Runtime failure: '#700'"


class Crashed(BaseException):
    """What the code has done would have crashed the process."""


class Faults:
    """Faults that strike by chance: of each kind, in a share of its occasions, and once for sure.

    Args:
        rates: share of occasions by kind.
        most: most strikes by kind.
        sure: the occasion at which a kind that has a rate strikes for sure; by default the fifth,
            when the engines have shown already that they work.
        seed: of the chance.
    """

    def __init__(
        self,
        rates: Mapping[str, float] | None = None,
        *,
        most: Mapping[str, int] | None = None,
        sure: Mapping[str, int] | None = None,
        seed: int = 1,
    ) -> None:
        self.rates, self._most, self._sure = dict(rates or {}), dict(most or {}), dict(sure or {})
        self.struck: collections.Counter[str] = collections.Counter()
        self._occasions: collections.Counter[str] = collections.Counter()
        self._dice, self._turn = random.Random(seed), threading.Lock()

    def strikes(self, kind: str) -> bool:
        """Returns whether the fault strikes at this occasion."""
        rate = self.rates.get(kind, 0.0)
        with self._turn:
            self._occasions[kind] += 1
            if not rate or self.struck[kind] >= self._most.get(kind, 1 << 30):
                return False
            sure = self._occasions[kind] == self._sure.get(kind, 5)
            struck = sure or self._dice.random() < rate
            self.struck[kind] += struck
            return struck


@dataclasses.dataclass(eq=False)
class Block:
    """Memory of the device.

    Attributes:
        stream: in whose order it is written and freed.
        waited: whether the host has waited for what was written, so that any stream may read it.
        pending: copies from the host that the device has not made yet: offset, source.
    """

    address: int
    data: np.ndarray
    stream: int
    alive: bool = True
    waited: bool = False
    pending: list[tuple[int, np.ndarray]] = dataclasses.field(default_factory=list)


class FakeDevice:
    """A GPU as all processes see it; `faults` may be replaced while it is at work.

    Attributes:
        used, peak: bytes that are allocated now, and were at most.
        grown: how often the pool had to ask for more memory, which is slow.
        refused: allocations that there was no room for, or that a fault has struck.
        violations: uses that are forbidden.
        signs: whether each JPEG that it makes says so, so that its bytes are no others'.
        undecoded: files that a fault has kept it from decoding, once.
    """

    def __init__(self, total: int, faults: Faults | None = None) -> None:
        self.total, self.faults = total, faults or Faults()
        self.signs = True
        self.undecoded: set[bytes] = set()
        self.used = self.peak = self.grown = self.refused = 0
        self.threshold = self._reserved = 0
        self.streams: set[int] = set()
        self.streams_used: set[int] = set()
        self.violations: list[str] = []
        self.poisoned = False
        self._blocks: dict[int, Block] = {}
        #: By stream: what was written since the host has waited for it.
        self._written: dict[int, list[Block]] = collections.defaultdict(list)
        self._next = itertools.count(_APART, _APART)
        self._numbers = itertools.count(0x7000, 16)
        self._turn = threading.RLock()

    def forbid(self, what: str) -> None:
        """Notes a use that the real libraries do not survive."""
        self.violations.append(what)

    def check(self) -> None:
        """Raises the sticky error of this process, if it has one."""
        if not self.poisoned and self.faults.strikes("poisoned"):
            self.poisoned = True
        if self.poisoned:
            raise RuntimeError(ILLEGAL_ADDRESS)

    def new_process(self) -> None:
        """Forgets the process that was: its memory, its streams and its error."""
        with self._turn:
            for block in self._blocks.values():
                block.alive = False
            self._blocks.clear()
            self._written.clear()
            self.streams.clear()
            self.used = self._reserved = self.threshold = 0
            self.poisoned = False

    def allocate(self, size: int, stream: int) -> Block:
        self.check()
        self.use_stream(stream)
        with self._turn:
            if self.used + size > self.total or self.faults.strikes("no-memory"):
                self.refused += 1
                raise RuntimeError(NO_MEMORY)
            self.used += size
            self.peak = max(self.peak, self.used)
            if self.used > self._reserved:
                self._reserved = self.used
                self.grown += 1
            block = Block(next(self._next), np.zeros(size, np.uint8), stream)
            self._blocks[block.address] = block
            self._written[stream].append(block)
            return block

    def free(self, block: Block, stream: int) -> None:
        with self._turn:
            # What an earlier process had is gone already.
            if block.alive and block.address in self._blocks:
                self.use_stream(stream)
                block.alive = False
                del self._blocks[block.address]
                self.used -= len(block.data)

    @contextlib.contextmanager
    def workspace(self, size: int, stream: int) -> Iterator[None]:
        """Holds memory as codecs do while they work."""
        block = self.allocate(size, stream)
        try:
            yield
        finally:
            self.free(block, stream)

    def use_stream(self, stream: int) -> None:
        self.streams_used.add(stream)
        if stream and stream not in self.streams and not self.poisoned:
            self.forbid(f"stream {stream:#x} was used after it was freed")

    def wait(self, stream: int) -> None:
        """Lets the host wait for a stream: what was written in its order may be read by all."""
        with self._turn:
            for block in self._written.pop(stream, ()):
                self._settle(block)
                block.waited = True
            self._reserved = max(self.used, min(self._reserved, self.threshold))

    def view(self, address: int, shape: tuple[int, ...], stream: int) -> np.ndarray:
        """Returns pixels at an address as work on a stream finds them."""
        size = int(np.prod(shape))
        with self._turn:
            block = self._blocks.get(address - address % _APART)
            at = address % _APART
            if block is not None and at + size <= len(block.data):
                if block.stream != stream and not block.waited:
                    self.forbid("memory was read on another stream than that which writes it")
                self._settle(block)
                return block.data[at : at + size].reshape(shape)
        self.forbid("memory was read after it was freed")
        raise Crashed

    def new_stream(self) -> int:
        self.check()
        number = next(self._numbers)
        self.streams.add(number)
        return number

    def _settle(self, block: Block) -> None:
        for at, source in block.pending:
            block.data[at : at + len(source)] = source
        block.pending.clear()

    def block_of(self, address: int) -> Block | None:
        return self._blocks.get(address)

    def copy_later(self, block: Block, source: np.ndarray, stream: int) -> None:
        """Copies from the host when the device comes to it: as it is read or waited for."""
        with self._turn:
            block.waited = False
            block.pending.append((0, source))
            self._written[stream].append(block)


class FakeDriver:
    """CUDA's calls, as `cuda.CudaDriver` makes them."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device
        self._host: dict[int, np.ndarray] = {}

    def memory(self) -> tuple[int, int]:
        self._device.check()
        return self._device.total - self._device.used, self._device.total

    def keep_freed(self, most: int) -> None:
        self._device.threshold = most

    def new_stream(self) -> int:
        return self._device.new_stream()

    def allocate(self, size: int, stream: int) -> int:
        return self._device.allocate(size, stream).address

    def free(self, address: int, stream: int) -> None:
        block = self._device.block_of(address)
        if block is not None:
            self._device.free(block, stream)

    def host_memory(self, size: int) -> np.ndarray:
        self._device.check()
        memory = np.zeros(size, np.uint8)
        self._host[memory.ctypes.data] = memory
        return memory

    def free_host_memory(self, memory: np.ndarray) -> None:
        if self._host.pop(memory.ctypes.data, None) is None:
            self._device.forbid("memory of the host was freed twice")

    def copy_to_device(self, address: int, source: np.ndarray, stream: int) -> None:
        self._device.check()
        self._device.use_stream(stream)
        if source.ctypes.data not in self._host:
            self._device.forbid("memory that is not the driver's was copied from")
        block = self._device.block_of(address)
        if block is None:
            self._device.forbid("memory was written after it was freed")
            raise Crashed
        self._device.copy_later(block, source, stream)


@contextlib.contextmanager
def alone(device: FakeDevice, lock: threading.Lock, what: str) -> Iterator[None]:
    """Notes two threads that use one object at once."""
    if not lock.acquire(blocking=False):
        device.forbid(f"two threads used one {what} at once")
        raise Crashed
    try:
        yield
    finally:
        lock.release()
