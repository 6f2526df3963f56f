"""What is wrong with an export: one fault a line, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from beam_export.text import printable

__all__ = ["RESTORE", "REWRITE", "Fault", "Faults", "in_order"]

#: What to do about a shard that is not what was written.
REWRITE = "restore the shard's two files from a copy, or delete them and run the same export again"
#: What to do about a file that is one a dataset.
RESTORE = "restore it from a copy, or move it away and run the same export again"

#: Faults of one file that are told one by one; a damaged tar may have as many as it has blocks.
_MOST = 100


class Fault(NamedTuple):
    """Something that is not as it should be.

    Attributes:
        file: name relative to the export's directory.
        member: member of the tar, or id of the sample; empty if it is the file as a whole.
        problem: what is wrong, in one clause.
        remedy: what to do, in one clause.
    """

    file: str
    member: str
    problem: str
    remedy: str

    def line(self) -> str:
        """Returns the fault as one line for people."""
        where = f"{self.file}: {self.member}" if self.member else self.file
        return " ".join(f"{where}: {self.problem}: {self.remedy}".splitlines())


class Faults:
    """Gathers the faults of one file or shard, up to a hundred for each file."""

    def __init__(self, remedy: str = REWRITE) -> None:
        self._remedy = remedy
        self._found: dict[str, list[Fault]] = {}
        self._more: dict[str, int] = {}

    def add(self, file: str, problem: str, member: str = "", remedy: str | None = None) -> None:
        """Adds a fault."""
        found = self._found.setdefault(file, [])
        if len(found) < _MOST:
            found.append(Fault(file, printable(member), problem, remedy or self._remedy))
        else:
            self._more[file] = self._more.get(file, 0) + 1

    def of(self, file: str) -> int:
        """Returns how many faults a file has so far."""
        return len(self._found.get(file, ())) + self._more.get(file, 0)

    def all(self) -> list[Fault]:
        """Returns the faults, in order."""
        more = [
            Fault(file, "", f"{count} more faults that are not listed", self._remedy)
            for file, count in self._more.items()
        ]
        return in_order([fault for found in self._found.values() for fault in found] + more)


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """Returns faults in the order in which they are told, each once."""
    return sorted(set(faults))
