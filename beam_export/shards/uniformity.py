"""Says what is, or was, not the same for all samples: members, orientations, colours, gray.

The end of a run and the report say it in the same words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from beam_export.shards.manifest import LACKS, MEMBERS
from beam_export.shards.member_sets import describe_members
from beam_export.shards.undecodable import say_undecodable
from beam_export.text import quantity

__all__ = ["Lack", "describe_ensured", "describe_lacks", "lacks_of", "member_notes"]

#: Words of `--ensure`, each with what was done to the images that were not so.
_DONE = {"upright": "turned upright", "srgb": "converted to sRGB", "rgb": "made RGB"}
#: Likewise, with what it means for readers that an image is not so, and that several are not; and
#: what the flag would do.
_MEANS = {
    "upright": (
        "carries an EXIF orientation, and readers that do not apply it show it turned",
        "carry an EXIF orientation, and readers that do not apply it show them turned",
        "makes such upright",
    ),
    "srgb": (
        "has colours other than sRGB, and readers that do not convert them show wrong ones",
        "have colours other than sRGB, and readers that do not convert them show wrong ones",
        "converts such",
    ),
    "rgb": (
        "is gray, and readers that do not convert it give an array of another shape for it",
        "are gray, and readers that do not convert them give arrays of another shape for them",
        "makes such RGB",
    ),
}


class Lack(NamedTuple):
    """Images that are not what a word of `--ensure` says.

    Attributes:
        images: how many there are.
        of: how many were looked at: those that the run has written.
        means: what they are, and what it means for readers: a predicate.
        remedy: what the flag would do, with the flag; "" where it could do nothing.
    """

    images: int
    of: int
    means: str
    remedy: str


def lacks_of(encode: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[Lack]:
    """Yields what images of a run lack, where they do not all lack it alike.

    Args:
        encode: the step `encode` of the manifest.
        facts: of the run; without them nothing is known of what is copied.
    """
    lacks: Mapping[str, int] = facts.get(LACKS, {})
    written = lacks.get("samples", 0)
    for word, (means_one, means_several, remedy) in _MEANS.items():
        count = lacks.get(word, 0)
        # All gray are alike.
        if not count or (word == "rgb" and count == written):
            continue
        # `never` keeps bytes as they came.
        hint = "" if encode.get("encode") == "never" else f"--ensure={word} {remedy}"
        means = means_one if count == 1 else means_several
        yield Lack(count, written, means, hint)


def describe_lacks(encode: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """Yields a sentence for each of `lacks_of`."""
    whole = _written(encode)
    for one in lacks_of(encode, facts):
        some = quantity(one.images, "JPEG")
        if one.of != whole:
            some = f"{one.images} of the {quantity(one.of, 'JPEG')} written now"
        yield f"{some} {one.means}{f' ({one.remedy})' if one.remedy else ''}"


def describe_ensured(encode: Mapping[str, Any]) -> Iterator[str]:
    """Yields the sentence about images that `--ensure` has changed, if there are any.

    Args:
        encode: the step `encode` of the manifest.
    """
    if count := encode.get("ensured", 0):
        done = ((words, encode.get(f"ensured_{word}", 0)) for word, words in _DONE.items())
        reasons = ", ".join(f"{some} {words}" for words, some in done if some)
        some = quantity(count, "JPEG was", "JPEGs were")
        yield f"{some} not copied but encoded for --ensure: {reasons}"


def member_notes(encode: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """Yields sentences about members that not all samples have, or have been given.

    Args:
        encode: the step `encode` of the manifest.
        facts: of the run.
    """
    for step in facts.get(MEMBERS, ()):
        yield from _of_step(step)
    lacks: Mapping[str, int] = facts.get(LACKS, {})
    # Of shards that stood finished before it is not known.
    now = "" if lacks.get("samples", 0) == _written(encode) else " written now"
    for name, count in lacks.items():
        if said := say_undecodable(name, quantity(count, "sample") + now):
            yield said


def _written(encode: Mapping[str, Any]) -> int:
    """Returns how many images the export has."""
    return int(encode.get("copied", 0) + encode.get("encoded", 0))


def _of_step(step: Mapping[str, Any]) -> Iterator[str]:
    if columns := step.get("json_columns"):
        are = quantity(len(columns), "column is", "columns are")
        yield f"{are} also in the tars, as each sample's .{step['json']}"
    for name, done in (("dropped", "left out"), ("filled", "added, empty,")):
        if counts := step.get(name):
            parts = [f".{ext} of {quantity(count, 'sample')}" for ext, count in counts.items()]
            yield f"{done} by --ragged_fields={step['ragged_fields']}: {', '.join(parts)}"
    if step["unequal"]:
        yield (
            f"samples have unequal members: {describe_members(step['members'], step['samples'])}"
            "; readers that go by the first samples drop the others' (--ragged_fields=drop or fill "
            "makes them equal)"
        )
