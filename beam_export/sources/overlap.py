"""Refuses inputs and outputs that overlap, before anything runs.

An output inside the input is left out when the input is listed. Images in it would be lost without
a word; and if the output itself is listed, a second run would read the shards of the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from beam_export.errors import InputError
from beam_export.naming import parse
from beam_export.sources.entries import IMAGE_SUFFIXES, source_kind, split
from beam_export.sources.patterns import Pattern
from beam_export.storage.registry import storage_of
from beam_export.storage.uris import is_local
from beam_export.text import printable

__all__ = ["refuse_overlap"]

#: Folders of an output that this tool writes to, beside its shards.
_OURS = ("_meta", "_tmp")


def refuse_overlap(patterns: Iterable[Pattern], output_dir: str) -> None:
    """Makes sure that a run reads nothing that it writes, and skips no image.

    An input may hold the output, and the output an input, as far as neither is the other and the
    output holds no images but those of its shards.

    Args:
        patterns: the inputs.
        output_dir: the output, which need not be there yet.

    Raises:
        InputError: if they overlap in any other way.
    """
    local = is_local(output_dir)
    # Without links: an input may reach the output by another name.
    out = os.path.realpath(output_dir) if local else output_dir.rstrip("/")
    checked = False
    for pattern in patterns:
        if is_local(pattern.path) != local:
            continue
        top, name = _top(pattern, local)
        if _reads_shards(top, name, out):
            raise InputError(
                f"--input={printable(pattern.given)} is read from --output_dir={output_dir} "
                "itself, so that the next run would read this one's shards: give another "
                "--output_dir, a directory beside it say."
            )
        # Once: what the output holds is the same, whichever input it lies in.
        if not checked and _is_below(out, top):
            checked = True
            _refuse_images(out, output_dir, local)


def _top(pattern: Pattern, local: bool) -> tuple[str, str]:
    """Returns the directory that is listed, and the name if one file of it is meant."""
    path = pattern.path.rstrip("/") or "/"
    if local and os.path.isdir(path):
        return os.path.realpath(path), ""
    if local and os.path.lexists(path):
        return os.path.realpath(os.path.dirname(path)), os.path.basename(path)
    if pattern.is_glob:
        fixed = pattern.fixed.rpartition("/")[0]
        return (os.path.realpath(fixed) if local else fixed), ""
    # Nothing is listed yet, so its name says that it is a file of an export.
    if parse(path.rpartition("/")[2]) is not None:
        return path.rpartition("/")[0], path.rpartition("/")[2]
    return path, ""


def _reads_shards(top: str, name: str, out: str) -> bool:
    if any(top == f"{out}/{one}" or _is_below(top, f"{out}/{one}") for one in _OURS):
        return True
    return top == out and (not name or parse(name) is not None)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _refuse_images(out: str, output_dir: str, local: bool) -> None:
    names = _local_names(out) if local else _remote_names(out)
    for name in names:
        wanted = split(name)[1] in IMAGE_SUFFIXES or source_kind(name) is not None
        if wanted and parse(name) is None:
            raise InputError(
                f"--output_dir={output_dir} lies inside --input and holds {printable(name)}, which "
                "would be passed by: give another --output_dir, or move what is in it."
            )


def _local_names(out: str) -> Iterator[str]:
    for folder, _, names in os.walk(out):
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), out)


def _remote_names(out: str) -> Iterator[str]:
    for file in storage_of(out).list(out + "/"):
        yield file.uri.removeprefix(out + "/")
