"""A step that what comes before it is not run again for."""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

__all__ = ["Checkpoint"]


@dataclasses.dataclass
class Checkpoint(beam.PTransform):
    """Keeps its elements as they are, once for all steps that follow.

    A shuffle, and a step behind it: Beam's fuser in Java, so Flink's, forgets what else goes into a
    `Flatten` that takes the output of a shuffle itself.

    Attributes:
        element: type of an element.
    """

    element: Any

    def expand(self, elements: PCollection[Any]) -> PCollection[Any]:
        shuffled = elements | "Shuffle" >> beam.Reshuffle().with_output_types(self.element)
        return shuffled | "Keep" >> beam.Map(_keep).with_output_types(self.element)


def _keep(element: Any) -> Any:
    return element
