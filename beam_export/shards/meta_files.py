"""The files that exist once per dataset: tables, card, manifest, and the run's own facts."""

from __future__ import annotations

import hashlib
import io
import logging
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_export.naming import ShardNames
from beam_export.samples import Failure
from beam_export.shards.card import dataset_card
from beam_export.shards.hub_features import HubMembers
from beam_export.shards.index_owners import IndexOwners, keeps
from beam_export.shards.indexes.dataset import dataset_files
from beam_export.shards.indexes.table import IndexedShard, indexes_table
from beam_export.shards.leftovers import CARD, find_card
from beam_export.shards.manifest import (
    FROM_JSON,
    LACKS,
    MEMBERS,
    Manifest,
    SealError,
    SplitShards,
    failures_table,
    seal,
    shards_table,
    unseal,
)
from beam_export.shards.output import Output
from beam_export.shards.parquet import write_table
from beam_export.shards.writer import ShardResult

__all__ = ["MetaFiles", "list_failures"]

_LOG = logging.getLogger(__name__)


class MetaFiles:
    """Writes the files that exist once per dataset; what stands there already is left alone.

    Attributes:
        written: how many files were not there with the content that they are to have.
    """

    def __init__(self, output: Output, names: ShardNames) -> None:
        self._output, self._names = output, names
        self.written = 0

    def put_failures(self, failures: Sequence[Failure]) -> list[dict[str, str]]:
        """Writes the table of failures; returns its name and sha256, nothing if there are none."""
        if not failures:
            self._output.remove(self._names.failures)  # an earlier attempt may have had some
            return []
        return [self._put_table(self._names.failures, failures_table(failures))]

    def list_failures(self, failures: Sequence[Failure]) -> str | None:
        """Writes the table of failures of a run that ends with them, and returns its path.

        None if there are none, or a whole dataset stands there, whose failures are others.
        """
        if not failures:
            return None
        name, content = self._names.failures, _table_bytes(failures_table(failures))
        if not self._output.holds(name, content):
            if self._output.info(self._names.manifest) is not None:
                return None
            self._put(name, content)
        return self._output.path(name)

    def put_shards(self, results: Iterable[ShardResult]) -> dict[str, str]:
        """Writes the table of shards; returns its name and sha256."""
        return self._put_table(self._names.shards, shards_table(results, self._names))

    def put_indexes(
        self, shards: Sequence[IndexedShard], splits: Sequence[SplitShards] = ()
    ) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """Writes the table of the shards' indexes, and the indexes that the dataset has once.

        Args:
            shards: all there are, by number; none if there are no indexes.
            splits: all there are, the empty ones too.

        Returns:
            Name and sha256 of the table, and of the files: as the manifest lists them.

        Raises:
            RunError: if a file of somebody else stands where one is to be written.
        """
        if not shards:
            return [], []
        table = indexes_table(shards, self._names)
        self._put(self._names.indexes, table)
        parts = {one.key: one.numbers for one in splits if one.shards}
        files = dataset_files(self._names, shards, parts)
        owners = IndexOwners(self._output)
        for name, content in files.items():
            if keeps(name, content, self._output, owners=owners):
                _LOG.warning("%s is not this tool's, or was edited: it is kept", name)
            else:
                self._put(name, content)
        listed = [_listed(name, content) for name, content in sorted(files.items())]
        return [_listed(self._names.indexes, table)], listed

    def put_last(
        self,
        manifest: Manifest,
        *,
        identity: Mapping[str, str],
        from_json: bool,
        lacks: Mapping[str, int],
        members: Sequence[Mapping[str, Any]],
        notes: Mapping[str, Any],
        hub: HubMembers | None,
        started: float,
        unchanged: bool,
    ) -> None:
        """Writes the card, the manifest, and the run's own facts.

        Args:
            manifest: of the export.
            identity: of the encoder, with its devices.
            from_json: whether the columns of all samples with a `.json` were made of its keys.
            lacks: how many of this run's images lack what (`manifest.lacks`).
            members: the step about members, if there is one; the manifest need not have it.
            notes: of the run that no manifest has, by their kinds.
            hub: the members of all samples, for the card; None if they are not known.
            started: when the run began, in seconds since the epoch.
            unchanged: whether every shard was found finished.
        """
        card = dataset_card(manifest, members, hub=hub)
        digest = hashlib.sha256(card).hexdigest()
        # Before the manifest, whose presence says that the dataset is complete.
        new = self._put_card(card)
        self._put(self._names.manifest, manifest.to_json())
        known = self._known_facts()
        # A run that has found everything as it would be leaves the facts of the one that wrote it.
        if unchanged and known is not None and not (new and known.get("card_sha256") != digest):
            return
        # The digest distinguishes the card from one that somebody has edited.
        more = {FROM_JSON: from_json, LACKS: dict(lacks), "card_sha256": digest, **identity}
        more |= {MEMBERS: list(members), **notes}
        with self._output.writing(self._names.run) as target:
            target.write(seal({**_run_facts(started, manifest.totals.written), **more}))
        self.written += 1

    def _put(self, name: str, content: bytes) -> bool:
        written = self._output.put(name, content)
        self.written += written
        return written

    def _put_table(self, name: str, table: pa.Table) -> dict[str, str]:
        content = _table_bytes(table)
        self._put(name, content)
        return _listed(name, content)

    def _put_card(self, card: bytes) -> bool:
        """Writes the dataset card, unless a README stands there that is to be kept.

        Returns whether the card is there now, and was not there before as one of this tool's.
        """
        if find_card(self._output) != "kept":
            return self._put(CARD, card)
        if self._output.holds(CARD, card):
            return True
        _LOG.warning("%s is not this tool's, or was edited: it is kept", self._output.path(CARD))
        return False

    def _known_facts(self) -> dict[str, Any] | None:
        """Returns the facts of the run that wrote the shards; None if they are not whole."""
        try:
            with self._output.read(self._names.run) as source:
                return unseal(source.read())
        except (OSError, SealError):
            return None


def _table_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    write_table(buffer, table)
    return buffer.getvalue()


def _listed(name: str, content: bytes) -> dict[str, str]:
    return {"name": name, "sha256": hashlib.sha256(content).hexdigest()}


def list_failures(failures: Sequence[Failure], output: Output, hash_: str) -> str | None:
    """Writes the list of all failures of a run without a plan, and returns its path.

    None if a dataset stands there: its list of failures is another.
    """
    names = ShardNames(hash_)
    standing = output.list_files()
    if any(name != names.failures for name in standing):
        return None
    # A list of an earlier run may be replaced, a file of the same name by somebody else not.
    if standing and not output.ownership(hash_, standing).owns(names.failures):
        return None
    output.put(names.failures, _table_bytes(failures_table(failures)))
    return output.path(names.failures)


def _run_facts(started: float, written: int) -> dict[str, Any]:
    """Returns how long a run took that is about to end, and on what machine."""
    seconds = time.time() - started
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(seconds, 3),
        "host": platform.node(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "images_per_second": round(written / seconds, 1) if seconds > 0 else None,
    }
