"""Checks one shard: tar against Parquet, row by row, and both against the table of shards."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from beam_export.naming import ShardNames, key_of
from beam_export.samples import Failure
from beam_export.shards.json_member import JSON_MEMBER
from beam_export.shards.member_sets import MemberSets
from beam_export.shards.parquet import ShardRow
from beam_export.text import quantity
from beam_export.verify.against_input import (
    ColumnDigests,
    Rules,
    SampleDigests,
    image_digest,
    members_of,
)
from beam_export.verify.classes import ClassCheck
from beam_export.verify.findings import Fault, Faults
from beam_export.verify.indexes import IndexCheck, IndexTask
from beam_export.verify.members import ImageCheck, MemberCheck, Origin, ext_of
from beam_export.verify.shard_parquet import ShardFile, open_shard_file
from beam_export.verify.shard_tar import StrictSample, StrictTar
from beam_export.verify.splits import SplitCheck
from beam_export.verify.unique_names import NameUse

__all__ = ["CheckedShard", "ShardChecker"]


class CheckedShard(NamedTuple):
    """The result of checking one shard.

    Attributes:
        number: the shard's number.
        columns: its row of the table of shards, as found; None if its Parquet cannot be read.
        failures: the failures that its Parquet lists.
        schema: digest of its Parquet's schema.
        described: name and type of each column.
        first, last: keys of its first and its last sample.
        faults: what is wrong.
        name_uses: the ids and keys in it.
        differing: samples whose `.json` differs from columns that need not be made of it.
        example: the first difference of those, in words.
        undecodable: as of `MemberCheck`.
        members: packed `MemberSets` of its samples; their places begin with the shard's number.
        json_member: extension of the members that were made of columns, by its Parquet.
    """

    number: int
    columns: Mapping[str, Any] | None
    failures: tuple[Failure, ...]
    schema: str
    described: tuple[tuple[str, str], ...]
    first: str
    last: str
    faults: list[Fault]
    name_uses: list[NameUse]
    differing: int = 0
    example: str = ""
    undecodable: Mapping[str, tuple[int, str]] = {}
    members: tuple[Any, ...] = ()
    json_member: str = ""


class ShardChecker:
    """Checks shards of one dataset.

    Args:
        names: names of its files.
        sequential: whether keys are ranks (`--member_names=sequential`).
        images: decodes images; None without `--decode`.
        origin: what columns and members are known to be made of.
        rules: how rows are compared with the input; None without `--against`.
        splits: what the splits of rows are held against; None without splits.
        classes: likewise of classes.
    """

    def __init__(
        self,
        names: ShardNames,
        sequential: bool = False,
        images: ImageCheck | None = None,
        origin: Origin = Origin(),  # noqa: B008 (a tuple)
        rules: Rules | None = None,
        splits: SplitCheck | None = None,
        classes: ClassCheck | None = None,
    ) -> None:
        self._names, self._sequential, self._images = names, sequential, images
        self._origin, self._rules, self._splits = origin, rules, splits
        self._classes = classes

    def check(
        self,
        number: int,
        tar: BinaryIO,
        table: bytes,
        listed: Mapping[str, Any] | None,
        indexes: IndexTask | None = None,
    ) -> CheckedShard:
        """Checks one shard.

        Args:
            number: its number.
            tar: its tar, at the beginning.
            table: its Parquet file.
            listed: its row in the table of shards, if there is one.
            indexes: what is checked of its indexes; None if there are none.

        Raises:
            OSError: if the tar cannot be read at present.
        """
        faults = Faults()
        one = _Shard(
            names=self._names,
            number=number,
            faults=faults,
            images=self._images,
            sized=self._origin.sized,
            splits=self._splits,
            classes=self._classes,
        )
        file = open_shard_file(table, one.parquet, faults)
        members = self._member_check(file, one.parquet, faults)
        if file is not None:
            one.open_columns(file.columns, self._rules)
        one.indexes = None if indexes is None else IndexCheck(self._names, number, indexes)
        columns = one.read(tar=tar, file=file, sequential=self._sequential, members=members)
        if file is not None:
            columns["plan"] = file.facts.get("beam_export.plan")
            columns["failed"] = len(file.failures)
        columns.update(parquet_bytes=len(table), parquet_sha256=hashlib.sha256(table).hexdigest())
        one.check_facts(columns, file)
        if listed is not None:
            one.check_listed(columns, listed, known=file is not None)
        one.check_indexes(columns)
        failures = file.failures if file is not None else ()
        # Beside the ids of rows: a sample is in a shard or has failed, never both.
        one.name_uses.extend(NameUse("failed", failed.image_id, one.parquet) for failed in failures)
        return CheckedShard(
            number=number,
            columns=columns if file is not None else None,
            failures=failures,
            schema=file.schema if file is not None else "",
            described=file.described if file is not None else (),
            first=one.first,
            last=one.last,
            faults=faults.all(),
            name_uses=one.name_uses,
            differing=members.differing if members else 0,
            example=members.example if members else "",
            undecodable=members.undecodable if members else {},
            members=one.sets.pack(),
            json_member=members.json_member if members else "",
        )

    def _member_check(
        self, file: ShardFile | None, parquet: str, faults: Faults
    ) -> MemberCheck | None:
        """Returns the check of a shard's members; None if its Parquet cannot be read."""
        if file is None:
            return None
        return MemberCheck(
            columns=file.columns,
            origin=self._origin,
            file=parquet,
            faults=faults,
            json_member=file.facts.get(JSON_MEMBER, ""),
        )


class _Shard:
    """One shard while it is read."""

    def __init__(
        self,
        names: ShardNames,
        number: int,
        faults: Faults,
        images: ImageCheck | None,
        sized: bool,
        splits: SplitCheck | None,
        classes: ClassCheck | None,
    ) -> None:
        self.tar, self.parquet = names.tar(number), names.parquet(number)
        self._number, self._faults, self._images = number, faults, images
        self._sequential, self._sized = False, sized
        self._splits, self._classes = splits, classes
        self._digests: ColumnDigests | None = None
        self.indexes: IndexCheck | None = None
        self.name_uses: list[NameUse] = []
        self.sets = MemberSets()
        self.first = self.last = ""

    def open_columns(self, columns: pa.Schema, rules: Rules | None) -> None:
        """Checks the columns that the export has made, and prepares what compares the others.

        Args:
            columns: of metadata.
            rules: by which rows are compared with the input; None if they are not.
        """
        for problem in self._classes.schema_problems(columns) if self._classes else ():
            self._add(self.parquet, problem)
        # A shard that lacks columns is named by `check_schemas`, and not once more for each row.
        if rules is not None and set(rules.columns) <= set(columns.names):
            # Beside the ids of rows, the digests that these are compared with the input by.
            self._digests = ColumnDigests(columns, rules)

    def read(
        self,
        tar: BinaryIO,
        file: ShardFile | None,
        sequential: bool,
        members: MemberCheck | None,
    ) -> dict[str, Any]:
        """Reads both files in step; returns what the table of shards should say of them."""
        self._sequential = sequential
        strict = StrictTar(fh=tar, file=self.tar, faults=self._faults, wants=self._wants)
        if self.indexes is not None:
            strict.md5 = self.indexes.md5
        rows = file.rows() if file is not None else iter(())
        counts = {"samples": 0, "copied": 0, "encoded": 0}
        in_tar = in_table = 0
        for sample, row in itertools.zip_longest(strict.samples(), rows):
            in_tar += sample is not None
            in_table += row is not None
            if row is not None:
                counts["samples"] += 1
                counts["copied"] += row.encoding == "copied"
                counts["encoded"] += row.encoding == "encoded"
                self._check_split(row)
                digests = self._digests_of(in_table - 1, sample, row)
                # Null for arrays, which had no bytes as they came.
                sha256 = row.source_sha256 or ""
                self.name_uses.append(NameUse("id", row.image_id, self.parquet, sha256, digests))
            if sample is not None:
                self.name_uses.append(NameUse("key", sample.key, self.tar))
                self._note_key(sample.key)
                if self.indexes is not None:
                    self.indexes.add(sample)
            if sample is not None and row is not None:
                self._check_row(sample, row)
                self._check_class(sample, row)
                self._add_members(sample, row, in_tar)
                if members is not None:
                    members.add(sample, row)
        if members is not None:
            members.flush()
        if file is not None and in_tar != in_table:
            held = f"{quantity(in_tar, 'sample')}, and its Parquet {quantity(in_table, 'row')}"
            self._add(self.tar, f"it has {held}")
        if not in_tar:
            self._add(self.tar, "it has no sample, and a shard is never empty")
        tar_facts = {"bytes": strict.size, "tar_sha256": strict.sha256}
        names = {"shard": self._number, "tar_file": self.tar, "parquet_file": self.parquet}
        return {**names, **counts, **tar_facts}

    def _check_split(self, row: ShardRow) -> None:
        if self._splits is not None:
            for problem in self._splits.problems(row, self._number):
                self._add(self.parquet, problem, row.image_id)

    def _check_class(self, sample: StrictSample, row: ShardRow) -> None:
        for problem in self._classes.problems(sample, row) if self._classes else ():
            self._add(self.parquet, problem, row.image_id)

    def _digests_of(
        self, place: int, sample: StrictSample | None, row: ShardRow
    ) -> SampleDigests | None:
        if self._digests is None or sample is None:
            return None
        return SampleDigests(
            shard=self._number,
            row=place,
            image=image_digest(
                sha256=row.sha256, encoding=row.encoding, width=row.width, height=row.height
            ),
            members=members_of((ext_of(one.name), one.sha256) for one in sample.members[1:]),
            columns=self._digests.of_row(row.metadata),
        )

    def _wants(self, name: str, size: int) -> bool:
        image = self._images is not None and self._images.wants(name, size)
        return image or MemberCheck.wants(name, size)

    def _add_members(self, sample: StrictSample, row: ShardRow, place: int) -> None:
        exts = tuple(sorted([ext_of(one.name) for one in sample.members[1:]]))
        self.sets.add(exts, b"%09d/%09d" % (self._number, place), row.image_id)

    def _note_key(self, key: str) -> None:
        self.first = self.first or key
        # Ranks have at least 9 digits, and no zeros before them from the tenth on.
        if self._sequential and not (
            key.isdigit() and (len(key), key) > (len(self.last), self.last)
        ):
            self._add(self.tar, "its name is no rank above the one before it", key)
        self.last = key

    def _check_row(self, sample: StrictSample, row: ShardRow) -> None:
        """Compares a row with the sample at its place in the tar."""
        member = sample.members[0]
        found = {
            "tar_file": self.tar,
            "member_name": member.name,
            "offset": member.offset,
            "size": member.size,
            "sha256": member.sha256,
        }
        for name, value in found.items():
            stated = getattr(row, name)
            if stated != value:
                self._add(
                    self.parquet, f"{name} is {stated!r}, and the tar has {value!r}", row.image_id
                )
        if row.encoding not in ("copied", "encoded"):
            self._add(
                self.parquet,
                f"encoding is {row.encoding!r}, neither copied nor encoded",
                row.image_id,
            )
        if self._sized and (row.width is None or row.height is None):
            self._add(
                self.parquet,
                "its width or height is null, and --encode=never alone stores what has none",
                row.image_id,
            )
        if row.encoding == "copied" and row.source_sha256 != row.sha256:
            self._add(self.parquet, "it was copied, and source_sha256 is another one", row.image_id)
        # What was escaped for the Parquet had another id when its key was made.
        longest = max(len(one.name) - len(sample.key) - 1 for one in sample.members)
        wanted = key_of(row.image_id, longest)
        if not self._sequential and "\\" not in row.image_id and sample.key != wanted:
            self._add(self.parquet, f"the key {sample.key} is not that of its id", row.image_id)
        if self._images is not None and member.data is not None:
            for problem in self._images.problems(
                name=member.name, data=member.data, width=row.width, height=row.height
            ):
                self._add(self.tar, problem, member.name)

    def check_facts(self, columns: Mapping[str, Any], file: ShardFile | None) -> None:
        """Compares the tar with what the Parquet's own key-values say of it."""
        if file is None:
            return
        for fact, name in (("tar_sha256", "tar_sha256"), ("tar_bytes", "bytes")):
            if file.facts.get(f"beam_export.{fact}") != str(columns[name]):
                self._add(
                    self.tar,
                    f"its {name} is {columns[name]}, and its Parquet says "
                    f"{file.facts.get(f'beam_export.{fact}')}",
                )

    def check_indexes(self, columns: Mapping[str, Any]) -> None:
        """Compares the shard's indexes with its tar."""
        if self.indexes is not None:
            self.indexes.finish(self._faults, tar_sha256=columns["tar_sha256"])

    def check_listed(
        self, columns: Mapping[str, Any], listed: Mapping[str, Any], known: bool
    ) -> None:
        """Compares what was found with the shard's row in the table of shards."""
        for name, stated in listed.items():
            if name not in columns or columns[name] == stated:
                continue
            of_tar = name in ("bytes", "tar_sha256", "tar_file")
            # Without readable rows all counts are 0 here, and prove nothing against the table.
            if known or of_tar or name.startswith("parquet"):
                self._add(
                    self.tar if of_tar else self.parquet,
                    f"its {name} is {columns[name]!r}, and the table of shards says {stated!r}",
                )

    def _add(self, file: str, problem: str, member: str = "") -> None:
        self._faults.add(file, problem, member)
