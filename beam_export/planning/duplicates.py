"""Resolves duplicate ids: finds samples with equal ids, and drops or renames the later ones."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import pickle
import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from beam_export.errors import InputError
from beam_export.naming import find_equal_keys, key_of
from beam_export.planning.blocks import open_block, unpack_ref
from beam_export.planning.order import open_sample
from beam_export.planning.spill_files import load, spill
from beam_export.text import printable

__all__ = [
    "Decisions",
    "DuplicateId",
    "clashes_in",
    "decide",
    "duplicate_ids",
    "find_clashes",
    "is_concerned",
    "name_row",
    "name_rows",
    "open_decisions",
    "pack_decisions",
    "pack_kept",
    "pack_name_rows",
    "renamed_orders",
]


#: Bytes of a `name_row`.
_ROW = 24
#: Names that renaming can give: numbers from 1, without leading zeros.
_NUMBERED = re.compile(r"(?s)(.*)-[1-9][0-9]*\Z")
#: Duplicate ids are resolved in one process, whose memory holds no more than this.
_MOST = 1_000_000


class DuplicateId(NamedTuple):
    """A sample whose id occurs twice, or may be assigned by `--duplicates=rename`."""

    order: bytes
    id: str
    path: str


@dataclasses.dataclass(frozen=True)
class Decisions:
    """The samples with equal ids that are dropped or renamed, by order key.

    Attributes:
        dropped: samples that are left out.
        renamed: samples that go by another id.
        kept: those of them that would have another name, had samples not been left out before;
            the dataset's hash depends on these names.
    """

    dropped: frozenset[bytes] = frozenset()
    renamed: dict[bytes, str] = dataclasses.field(default_factory=dict)
    kept: frozenset[bytes] = frozenset()

    def kept_names(self) -> list[str]:
        """Returns the names of those in `kept`, sorted."""
        return sorted(self.renamed[order] for order in self.kept)


def name_row(ident: str) -> bytes:
    """Returns 24 bytes: 16 of the tar key's hash, by which equal keys meet, and 8 of the id's.

    >>> name_row("a b")[:16] == name_row("a b")[:16] != name_row("a c")[:16]
    True
    """
    key = key_of(ident)
    hashed = hashlib.sha256(key.encode()).digest()[:16]
    if key == ident:
        return hashed + hashed[:8]
    return hashed + hashlib.sha256(ident.encode("utf-8", "surrogatepass")).digest()[:8]


def find_clashes(rows: Iterable[bytes]) -> list[bytes]:
    """Returns the key's hash of the rows whose key comes more than once, each once.

    >>> find_clashes([name_row("a"), name_row("b"), name_row("a")]) == [name_row("a")[:16]]
    True
    """
    # Keys and not ids: two ids of one key are an error as well (format.md, part 4.1).
    ordered = sorted(rows)
    clashes: list[bytes] = []
    for before, row in itertools.pairwise(ordered):
        if before[:16] == row[:16] and (not clashes or clashes[-1] != row[:16]):
            clashes.append(row[:16])
    return clashes


def is_concerned(ident: str, clashes: Collection[bytes], renaming: bool) -> bool:
    """Returns whether an id clashes, or is a name that renaming must not give a second time.

    >>> clashes = {name_row("a")[:16]}
    >>> [is_concerned(ident, clashes, renaming=True) for ident in ("a", "a-1", "a-0", "b-1")]
    [True, True, False, False]
    """
    if name_row(ident)[:16] in clashes:
        return True
    numbered = _NUMBERED.match(ident) if renaming else None
    return numbered is not None and name_row(numbered[1])[:16] in clashes


def decide(found: Collection[DuplicateId], policy: str) -> Decisions:
    """Returns what becomes of the samples whose ids are equal: the first of each keeps its id.

    >>> found = [DuplicateId(b"1", "a", "x"), DuplicateId(b"2", "a", "y"),
    ...          DuplicateId(b"3", "a-1", "z")]
    >>> decide(found, "first").dropped
    frozenset({b'2'})
    >>> decide(found, "rename").renamed
    {b'2': 'a-2'}

    Args:
        found: every sample that `is_concerned`, in any order.
        policy: `error`, `first` or `rename`.

    Raises:
        InputError: under `error`, naming pairs; if two ids make one key; if there are too many.
    """
    if len(found) > _MOST:
        raise InputError(
            f"{len(found)} samples share their id with others, more than the {_MOST} that can "
            "be resolved: give the images ids of their own, or --duplicates=first on fewer inputs."
        )
    groups: dict[str, list[DuplicateId]] = {}
    for one in sorted(found):
        groups.setdefault(one.id, []).append(one)
    # Whatever the policy: different ids are not duplicates, so none would drop or rename these.
    _refuse_equal_keys(groups)
    doubled = {ident: group for ident, group in groups.items() if len(group) > 1}
    if policy == "error" and doubled:
        raise InputError(_describe(doubled))
    if policy == "first":
        later = (one.order for group in doubled.values() for one in group[1:])
        return Decisions(dropped=frozenset(later))
    return Decisions(renamed=_rename(doubled, set(groups)))


def _rename(doubled: dict[str, list[DuplicateId]], taken: set[str]) -> dict[bytes, str]:
    # In order over all ids: a name that one sample gets is taken for those behind it.
    later = sorted(one for group in doubled.values() for one in group[1:])
    renamed, reached = {}, dict.fromkeys(doubled, 0)
    for one in later:
        name = one.id
        while name in taken:
            # Goes on from the last number: a million equal ids would else try each from 1.
            reached[one.id] += 1
            name = f"{one.id}-{reached[one.id]}"
        taken.add(name)
        renamed[one.order] = name
    return renamed


def _refuse_equal_keys(groups: dict[str, list[DuplicateId]]) -> None:
    if found := find_equal_keys(groups, key_of):
        one, other = found
        raise InputError(
            f"the ids {one!r} and {other!r} make the same tar key {key_of(other)!r}: "
            "rename one of the two."
        )


def _describe(doubled: dict[str, list[DuplicateId]]) -> str:
    shown = [f"{ident!r}{_places(group)}" for ident, group in list(doubled.items())[:5]]
    more = f" and {len(doubled) - 5} more" if len(doubled) > 5 else ""
    count = "1 id comes" if len(doubled) == 1 else f"{len(doubled)} ids come"
    return (
        f"{count} more than once, {', '.join(shown)}{more}: give "
        "--duplicates=rename to keep all, --duplicates=first to keep the first of each, or rename "
        "the images."
    )


def _places(group: list[DuplicateId]) -> str:
    """Returns where the first two samples of an id come from; empty where they have no paths."""
    paths = [printable(one.path) or "a sample without a path" for one in group[:2]]
    return f" ({' and '.join(paths)})" if any(one.path for one in group[:2]) else ""


def name_rows(block: bytes, sample: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (bucket, `name_row`) per sample."""
    buckets = open_sample(sample)[1]
    for ident in open_block(block).ids:
        row = name_row(ident)
        yield int.from_bytes(row[:4], "big") % buckets, row


def pack_name_rows(rows: list[bytes]) -> Iterator[bytes]:
    """Yields rows as one value, which `clashes_in` takes."""
    yield spill(b"".join(rows))


def clashes_in(bucket: int, packed: Iterable[bytes]) -> list[bytes]:
    """Returns what `find_clashes` finds in a bucket of packed rows."""
    parts = (bytes(load(part)) for part in packed)
    rows = [part[at : at + _ROW] for part in parts for at in range(0, len(part), _ROW)]
    return find_clashes(rows)


def duplicate_ids(block: bytes, clashes: list[bytes], policy: str) -> Iterator[DuplicateId]:
    """Yields the samples of a block whose ids clash, or may be assigned by renaming."""
    if not clashes:
        return
    concerned, renaming = frozenset(clashes), policy == "rename"
    for packed in open_block(block).refs():
        if is_concerned(packed.id, concerned, renaming):
            yield DuplicateId(packed.order, packed.id, unpack_ref(packed).path)


def pack_decisions(found: list[DuplicateId], policy: str) -> bytes:
    """Returns the packed decisions (`decide`), for a side input; see `open_decisions`."""
    return pickle.dumps(decide(found, policy), protocol=5)


def renamed_orders(block: bytes, names: bytes) -> Iterator[bytes]:
    """Yields the order keys of the samples of a block that have been given another name."""
    renamed = open_decisions(names).renamed
    if renamed:
        yield from (order for order in open_block(block).orders if order in renamed)


def pack_kept(found: list[DuplicateId], orders: list[bytes], names: bytes, policy: str) -> bytes:
    """Returns the packed decisions on samples that have kept their names as others were left out.

    What a table or a list of ids calls a sample, the dataset calls it too.

    Args:
        found: every sample that `is_concerned`, of those that are left.
        orders: of the samples that are left and have a name (`renamed_orders`).
        names: packed decisions on all samples.
        policy: `rename`.
    """
    given = open_decisions(names).renamed
    others = decide(found, policy).renamed
    renamed = {order: given[order] for order in sorted(orders)}
    kept = (order for order, name in renamed.items() if others.get(order) != name)
    return pickle.dumps(Decisions(renamed=renamed, kept=frozenset(kept)), protocol=5)


@functools.lru_cache(maxsize=2)
def open_decisions(packed: bytes) -> Decisions:
    """Returns the decisions of a side input; kept like the plan."""
    decisions: Decisions = pickle.loads(packed)
    return decisions
