"""What a verification has found: for people, a line a fault; for machines, one JSON object."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from beam_export.text import shown, size
from beam_export.verify.faults import Fault

__all__ = ["Findings"]


@dataclasses.dataclass(kw_only=True)
class Findings:
    """All that is known at the end.

    Attributes:
        shards, samples: how many were looked at.
        bytes: of their files; None if they were not counted.
        faults: what is wrong, in order.
        unchecked: what could not be checked, in a clause each.
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
        """Returns what `to_json` was called on."""
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
        count = len(self.faults)
        verdict = "sound" if self.sound else f"{count} fault{'s' * (count != 1)}"
        bulk = f", {size(self.bytes)}" if self.bytes is not None else ""
        yield f"{verdict}: {self.samples} samples in {self.shards} shards{bulk}"
