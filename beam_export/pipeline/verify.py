"""Verifies an export of ours: one element per shard, then all of them together (`verify.*`)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import AsList, PCollection, TaggedOutput

from beam_export.index_kinds import DALI, ENERGON
from beam_export.pipeline.progress import report
from beam_export.pipeline.read_tars import Spills
from beam_export.pipeline.verify_input import Against, ReadInputNames, Reencode
from beam_export.pipeline.verify_names import CheckNames
from beam_export.shards.indexes.shard import ShardIndexes
from beam_export.shards.output import Output
from beam_export.shards.parquet import PARQUET_ERRORS
from beam_export.sources.tar.exports import own_columns
from beam_export.verify.against_input import KeySpan, Rules, rules_of
from beam_export.verify.classes import classes_of
from beam_export.verify.dataset import Opened, read_file
from beam_export.verify.findings import CHECK_ACCESS, Fault, reason
from beam_export.verify.indexes import IndexTask
from beam_export.verify.members import ImageCheck, origin_of
from beam_export.verify.shard import CheckedShard, ShardChecker
from beam_export.verify.splits import check_of
from beam_export.verify.totals import collect_findings
from beam_export.verify.unique_names import UnmatchedCounts, listed_failures, pack_uses

__all__ = ["VerifyExport"]


@dataclasses.dataclass
class VerifyExport(beam.PTransform):
    """Verifies an export of ours; gives `Findings`, as one JSON text.

    Attributes:
        output: the directory of the export.
        opened: its manifest and tables, read before the shards.
        images: decodes images; None without `--decode`.
        against: the input that it is compared with; None without `--against`.
        reencode: how the input's images are encoded again; None if they are not.
        spills: where the members of compressed tars of the input go.
        progress_address: address for `progress.report`.
    """

    output: Output
    opened: Opened
    images: ImageCheck | None
    against: Against | None
    reencode: Reencode | None
    spills: Spills
    progress_address: str | None

    def expand(self, pbegin: beam.pvalue.PBegin) -> PCollection[str]:
        opened, rules, columns = self.opened, None, pa.schema([])
        if self.against is not None:
            columns = self._columns()
            origin = origin_of(opened.manifest, opened.run)
            rules = rules_of(opened.manifest, columns.names, origin)
        checked = self._check_shards(pbegin, rules)
        uses, codecs = checked.name_uses, pbegin | "NoOthers" >> beam.Create([], reshuffle=False)
        if rules is not None:
            given = pbegin | "Input" >> self._input(rules, columns)
            listed = pack_uses(listed_failures(opened), opened.name_count)
            failed = pbegin | "Listed" >> beam.Create(list(listed))  # (bucket, packed NameUses)
            uses = (uses, given.uses, failed) | "AllNames" >> beam.Flatten()
            codecs = given.codecs  # str
        names = uses | "CheckNames" >> CheckNames(
            rules=rules, files=opened.names, renamed=opened.renamed, name_count=opened.name_count
        )
        faults = (checked.faults, names.faults) | "AllFaults" >> beam.Flatten()  # Fault
        return (
            pbegin
            | "Once" >> beam.Create([0])
            | "Conclude"
            >> beam.ParDo(
                _Conclude(self),
                AsList(checked.shards),
                AsList(faults),
                AsList(names.unmatched),
                AsList(names.spans),
                AsList(codecs),
            ).with_output_types(str)  # JSON
        )

    def _check_shards(self, pbegin: beam.pvalue.PBegin, rules: Rules | None) -> Any:
        """Checks each shard by itself; gives `shards`, `name_uses` and `faults`."""
        shards = self.opened.shards or {}
        known = self.opened.indexes.shards if self.opened.indexes is not None else {}
        tasks = [(number, shards.get(number), known.get(number)) for number in self.opened.numbers]
        return (
            pbegin
            # (shard, its row in the table of shards, its entry in that of indexes)
            | "Shards" >> beam.Create(tasks)
            | "SpreadShards" >> beam.Reshuffle()
            | "CheckShard"
            >> beam.ParDo(_CheckShard(self, rules)).with_outputs(
                "name_uses",  # (bucket, packed NameUses)
                "faults",  # Fault
                main="shards",  # CheckedShard
            )
        )

    def _columns(self) -> pa.Schema:
        """Returns the metadata columns, of the first shard whose Parquet can be read."""
        for number in self.opened.numbers:
            with (
                contextlib.suppress(*PARQUET_ERRORS),
                self.output.read(self.opened.names.parquet(number)) as source,
            ):
                columns = own_columns(pq.read_schema(source))
                if columns is not None:
                    return columns
        return pa.schema([])

    def _input(self, rules: Rules, columns: pa.Schema) -> ReadInputNames:
        assert self.against is not None
        return ReadInputNames(
            against=self.against,
            exclude=self.output.directory,
            options=self.opened.options,
            columns=columns,
            rules=rules,
            reencode=self.reencode,
            name_count=self.opened.name_count,
            spills=self.spills,
            progress_address=self.progress_address,
        )


class _CheckShard(beam.DoFn):
    """Yields a `CheckedShard`; its names and faults go by themselves."""

    def __init__(self, run: VerifyExport, rules: Rules | None) -> None:
        opened = run.opened
        self._output, self._images = run.output, run.images
        self._progress_address = run.progress_address
        self._names, self._name_count = opened.names, opened.name_count
        self._kinds = opened.indexes.kinds if opened.indexes is not None else None
        self._checker = ShardChecker(
            opened.names,
            sequential=opened.options.get("member_names") == "sequential",
            images=run.images,
            origin=origin_of(opened.manifest, opened.run),
            rules=rules,
            splits=check_of(opened.manifest),
            classes=classes_of(opened.manifest),
        )

    def setup(self) -> None:
        if self._images is not None:
            self._images.open()

    def process(self, task: tuple[int, dict[str, Any] | None, Any]) -> Iterator[Any]:
        number, listed, known = task
        checked = self._check(number, listed, known)
        if isinstance(checked, Fault):
            yield TaggedOutput("faults", checked)
            return
        for fault in checked.faults:
            yield TaggedOutput("faults", fault)
        for uses in pack_uses(checked.name_uses, self._name_count):
            yield TaggedOutput("name_uses", uses)
        columns = checked.columns or {}
        counts = {"kept": columns.get("samples", 0), "bytes": columns.get("bytes", 0)}
        report(self._progress_address, counts)
        yield checked._replace(name_uses=[], faults=[])

    def _check(
        self, number: int, listed: dict[str, Any] | None, known: Any
    ) -> CheckedShard | Fault:
        """Checks a shard; a file that is there and cannot be read is a fault."""
        name = self._names.parquet(number)
        try:
            stated = (listed or {}).get("parquet_bytes")
            with self._output.read(name) as source:
                table = read_file(source, name, stated if type(stated) is int else None)
            indexes = self._read_indexes(number, known)
            name = self._names.tar(number)
            with self._output.read(name) as tar:
                return self._checker.check(
                    number=number, tar=tar, table=table, listed=listed, indexes=indexes
                )
        except OSError as error:
            return Fault(
                file=name,
                member="",
                problem=f"it cannot be read ({reason(error)})",
                remedy=CHECK_ACCESS,
            )

    def _read_indexes(self, number: int, known: Any) -> IndexTask | None:
        """Returns what is to be checked of a shard's indexes; None if the export has none."""
        if self._kinds is None:
            return None
        wanted = {
            DALI: self._names.dali_index(number),
            ENERGON: self._names.energon_index(number),
        }
        files: dict[str, bytes | None] = {}
        for kind, name in wanted.items():
            if kind in self._kinds:
                files[name] = None
                with contextlib.suppress(FileNotFoundError), self._output.read(name) as source:
                    files[name] = read_file(source, name)
        entry = None if known is None else (known[0], ShardIndexes.of(known[1]))
        return IndexTask(self._kinds, entry, files)


class _Conclude(beam.DoFn):
    """Yields the findings, as JSON, once everything else is checked."""

    def __init__(self, run: VerifyExport) -> None:
        self._opened, self._against = run.opened, run.against is not None
        self._decode, self._reencode = run.images is not None, run.reencode is not None

    def process(
        self,
        _: int,
        shards: Sequence[CheckedShard],
        faults: Sequence[Fault],
        unmatched: Sequence[UnmatchedCounts],
        spans: Sequence[KeySpan],
        codecs: Sequence[str],
    ) -> Iterator[str]:
        findings = collect_findings(
            self._opened,
            [CheckedShard(*shard) for shard in shards],
            [Fault(*fault) for fault in faults],
            unmatched=unmatched if self._against else None,
            spans=spans,
            codecs=codecs,
            decode=self._decode,
            reencode=self._reencode,
        )
        yield findings.to_json()
