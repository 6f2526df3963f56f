"""Decides whose the indexes are that a dataset has once.

Most have one name in every dataset: `sizes.json`, `.nv-meta/...`. A file under such a name is ours
if a manifest of ours lists it with the content that it has, if it lists the tars of one export of
ours and nothing else, or if it bears the mark of a run, where marks are kept. All others are
somebody else's, and so is an index for wids that somebody has edited, as wids' own tool does.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

from beam_export.errors import RunError
from beam_export.naming import ShardNames, other_hash, parse
from beam_export.shards.indexes.counts import NSHARDS, SIZES, count_of_sizes, nshards_txt
from beam_export.shards.indexes.dataset import is_setting
from beam_export.shards.indexes.energon import INFO, is_info
from beam_export.shards.indexes.wids import is_wids_index
from beam_export.shards.manifest import SealError, unseal
from beam_export.shards.output import Output
from beam_export.shards.ownership import sha256_of

__all__ = ["IndexOwners", "find_kept", "keeps", "listed_indexes", "stale_index"]


class IndexOwners:
    """Knows which of these files in an output are ours, by what stood there when it was asked."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def owns(self, name: str) -> bool:
        """Returns whether a file is ours; True too if nothing stands there.

        Raises:
            OSError: if it cannot be read at present.
        """
        if self._output.kind(name) != "file":
            return not self._output.kind(name)
        info, data = self._output.info(name), self._read(name)
        if info is None or info.owner:
            return True
        listed = hashlib.sha256(data).hexdigest() in self._listed.get(name, ())
        return listed or self._tells(name, data)

    def _tells(self, name: str, data: bytes) -> bool:
        """Returns whether a file shows by itself that it is ours."""
        parsed = parse(name)
        if parsed is not None:
            return is_wids_index(data, ShardNames(parsed.hash))
        if name == SIZES:
            return count_of_sizes(data) is not None
        if name == NSHARDS:
            # A number says little: it is that of the shards beside it.
            return self._output.kind(SIZES) == "file" and data == self._nshards()
        return name == INFO and is_info(data)

    def _nshards(self) -> bytes | None:
        count = count_of_sizes(self._read(SIZES))
        return None if count is None else nshards_txt(count)

    @functools.cached_property
    def _listed(self) -> dict[str, set[str]]:
        """SHA-256 of the files by name, in all manifests of ours that stand in the output."""
        found: dict[str, set[str]] = {}
        for name, file in self._output.list_files().items():
            parsed = parse(name)
            if parsed is None or parsed.kind != "manifest" or file.kind != "file":
                continue
            for one, sha256 in listed_indexes(self._read(name)).items():
                found.setdefault(one, set()).add(sha256)
        return found

    def _read(self, name: str) -> bytes:
        try:
            with self._output.read(name) as source:
                return source.read()
        except FileNotFoundError:  # removed meanwhile
            return b""


def keeps(name: str, content: bytes, output: Output, *, owners: IndexOwners) -> bool:
    """Returns whether what stands under the name of an index is kept, as it is somebody else's.

    Args:
        name: of an index that the dataset has once.
        content: that it is to have.
        output: the output directory.
        owners: of what stands there.

    Raises:
        RunError: if it is not one that people set by hand, so that it may be kept (`is_setting`).
    """
    if output.holds(name, content) or owners.owns(name):
        return False
    if is_setting(name) and output.kind(name) == "file":
        return True
    raise RunError(
        f"{output.path(name)} is a {output.kind(name)} that is not this tool's, where an index is "
        "to be written: move it away and run again, or give another directory."
    )


def find_kept(output: Output, manifest: Mapping[str, Any]) -> list[str]:
    """Returns the names of the indexes that a manifest lists and that were kept as they were."""
    kept = []
    for one in manifest.get("indexes", ()):
        if is_setting(one["name"]) and output.kind(one["name"]) == "file":
            with output.read(one["name"]) as source:
                if sha256_of(source) != one["sha256"]:
                    kept.append(str(one["name"]))
    return kept


def stale_index(content: bytes, hash_: str) -> str:
    """Returns what is wrong with an index that was kept, and what to do; "" if nothing is.

    One that was edited is kept, and may name the tars of an export that is gone.

    Args:
        content: of an index that people set by hand (`is_setting`).
        hash_: of the export that stands beside it.
    """
    said = b"\n".join(line.partition(b"#")[0] for line in content.splitlines())
    other = other_hash(said, hash_)
    return other and (
        f"it names tars of another export ({other}), which loaders look for and do not find: move "
        "it away, run beam-export index OUT, and edit the file that this writes"
    )


def listed_indexes(manifest: bytes) -> dict[str, str]:
    """Returns the SHA-256 by name of the indexes that a manifest lists; none if it is damaged."""
    try:
        listed = unseal(manifest).get("indexes", [])
        return {str(one["name"]): str(one["sha256"]) for one in listed}
    except (SealError, TypeError, KeyError):
        return {}
