"""The findings of a verification: faults with their remedies, as lines of text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from beam_export.text import printable, quantity, shown, size

__all__ = [
    "CHECK_ACCESS",
    "MISSING",
    "NOT_WRITTEN",
    "REMAKE",
    "RESTORE",
    "REWRITE",
    "Fault",
    "Faults",
    "Findings",
    "in_order",
    "reason",
]

#: What to do about a shard that is not what was written.
REWRITE = "restore the shard's two files from a copy, or delete them and run the same export again"
#: What to do about a file that exists once per dataset.
RESTORE = "restore it from a copy, or move it away and run the same export again"
#: What to do about a file that is not there: what stands is kept, whichever it is.
REMAKE = "restore it from a copy, or run the same export again, which writes what is missing"
#: What is said of it.
MISSING = "it is missing"
#: What is said of a file that people edit, where it is not what was written.
NOT_WRITTEN = "not what the export wrote there, and read by loaders as it is"
#: What to do about a file that cannot be read at present.
CHECK_ACCESS = "see whether the disk or the permissions are at fault, and verify again"

#: Faults listed per file; a damaged tar may have as many as it has blocks.
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
        """Returns the fault as one line for people.

        >>> Fault("a.tar", "cat.jpg", "it is cut short", "restore it").line()
        'a.tar: cat.jpg: it is cut short: restore it'
        """
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
            found.append(
                Fault(
                    file=file,
                    member=printable(member),
                    problem=problem,
                    remedy=remedy or self._remedy,
                )
            )
        else:
            self._more[file] = self._more.get(file, 0) + 1

    def add_missing(self, file: str, remedy: str = REMAKE) -> None:
        """Adds the fault of a file that is not there."""
        self.add(file, MISSING, remedy=remedy)

    def of(self, file: str) -> int:
        """Returns how many faults a file has so far."""
        return len(self._found.get(file, ())) + self._more.get(file, 0)

    def all(self) -> list[Fault]:
        """Returns the faults, in order."""
        more = [
            Fault(
                file=file,
                member="",
                problem=f"{count} more faults that are not listed",
                remedy=self._remedy,
            )
            for file, count in self._more.items()
        ]
        return in_order([fault for found in self._found.values() for fault in found] + more)


def in_order(faults: Iterable[Fault]) -> list[Fault]:
    """Returns faults sorted, each once."""
    return sorted(set(faults))


def reason(error: Exception) -> str:
    """Returns why a file cannot be read, in a few words."""
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error).splitlines()[0]


@dataclasses.dataclass(kw_only=True)
class Findings:
    """All findings about an export.

    Attributes:
        shards, samples: how many were checked.
        bytes: of their files; None if they were not counted.
        faults: what is wrong, in order.
        unchecked: what could not be checked, a clause each.
        notes: what is odd and no fault.
        hash: of the export; None if it is not one of ours.
    """

    shards: int
    samples: int
    bytes: int | None
    faults: list[Fault]
    unchecked: list[str]
    notes: list[str] = dataclasses.field(default_factory=list)
    hash: str | None = None

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def to_json(self) -> str:
        """Returns all of it as JSON, on one line."""
        content = dataclasses.asdict(self)
        content["faults"] = [fault._asdict() for fault in self.faults]
        text = json.dumps({**content, "sound": self.sound}, sort_keys=True)
        # The one control that JSON leaves as it is.
        return text.replace("\x7f", "\\u007f")

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """Returns the findings that `to_json` has written."""
        content: dict[str, Any] = json.loads(text)
        del content["sound"]
        content["faults"] = [Fault(**fault) for fault in content["faults"]]
        return cls(**content)

    def lines(self) -> Iterator[str]:
        """Yields the lines for people."""
        yield from map(shown, self._lines())

    def _lines(self) -> Iterator[str]:
        for fault in self.faults:
            yield fault.line()
        for words in self.unchecked:
            yield f"not checked: {words}"
        for words in self.notes:
            yield f"note: {words}"
        verdict = "sound" if self.sound else quantity(len(self.faults), "fault")
        bulk = f", {size(self.bytes)}" if self.bytes is not None else ""
        held = f"{quantity(self.samples, 'sample')} in {quantity(self.shards, 'shard')}"
        yield f"{verdict}: {held}{bulk}"
