"""Infers the Arrow type of one metadata column from its values, in any order of arrival.

For each place in a value (the value itself, the items of its lists, the fields of its mappings) the
set of kinds of values seen there is kept. Sets can be merged in any order and grouping, so that the
type depends on neither; only `Column.resolve` turns the sets into one type.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from beam_export.metadata.arrow_types import (
    EXACT_MAX,
    INT64_MAX,
    is_exact,
    numpy_type,
    scalar_type,
    storable,
    unify_all,
)
from beam_export.text import is_unicode

__all__ = ["MAX_DEPTH", "MAX_PLACES", "PLAIN", "Column"]

#: A column with more places than these uses values as names of fields, and is refused.
MAX_PLACES = 1_000
MAX_DEPTH = 64

#: Python types that decide the Arrow type alone. Integers have three kinds: `int` for those that
#: int64 and uint64 both hold, pa.int64() for negative ones, pa.uint64() for larger ones.
PLAIN: dict[type, pa.DataType] = {
    type(None): pa.null(),
    bool: pa.bool_(),
    str: pa.string(),
    float: pa.float64(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.time: pa.time64("us"),
}

#: A place: names of fields, and `_ITEM` for the items of a list, from the outermost inwards.
_Place = tuple[str | int, ...]
_ITEM = 0
#: The longest duration in 64 bits of microseconds.
_LONGEST = datetime.timedelta(microseconds=INT64_MAX)
_TOP: _Place = ()

#: A type of `PLAIN`, int, list or dict; or a pa.DataType; or `_Wide`; or a text, of what cannot be
#: stored.
_Kind = Any


class _Wide:
    """Stands among kinds for integers that no float holds exactly, beside their own kind."""


_TOO_MANY = f"more than {MAX_PLACES} different fields"


class Column:
    """The kinds of values seen in one column, each with one source that has it.

    The source is the smallest by name, so that messages do not depend on the order of arrival.

    Attributes:
        places: kinds by place, each with its source; the value itself is the place ().
        top: `places[()]`, so that callers can add a plain value without a call.
    """

    __slots__ = ("places", "top")

    def __init__(self) -> None:
        self.top: dict[_Kind, str] = {}
        self.places: dict[_Place, dict[_Kind, str]] = {_TOP: self.top}

    def __reduce__(self) -> tuple[Any, ...]:
        # Spelled out, since `top` has to be the same object as `places[()]`.
        return _restore, (self.places,)

    def add(self, value: Any, where: str) -> None:
        """Adds the kinds of a value and of all values in it; `where` is the source for messages."""
        if _TOO_MANY not in self.top:
            self._note(_TOP, value, where)
            self._trim()

    def add_type(self, kind: pa.DataType, where: str) -> None:
        """Adds an Arrow type, as if values of it had been seen."""
        if _TOO_MANY not in self.top:
            self._note_type(_TOP, kind, where)
            self._trim()

    def merge(self, other: Column) -> None:
        """Adds all that `other` holds."""
        for place, kinds in other.places.items():
            for kind, where in kinds.items():
                self._see(place, kind, where)
        self._trim()

    def resolve(self) -> pa.DataType:
        """Returns the type that holds all values seen.

        Raises:
            ValueError: if there is none; the message begins with "holds", and lacks its subject.
        """
        inside: dict[_Place, list[_Place]] = {}
        for place in sorted(self.places, key=lambda place: [str(part) for part in place]):
            if place:
                inside.setdefault(place[:-1], []).append(place)
        return self._resolve(_TOP, inside)

    def _see(self, place: _Place, kind: _Kind, where: str) -> None:
        kinds = self.places.setdefault(place, {})
        seen = kinds.get(kind)
        if seen is None or where < seen:
            kinds[kind] = where

    def _trim(self) -> None:
        # Once refused, always refused: the result is the same in any order.
        if len(self.places) > MAX_PLACES or _TOO_MANY in self.top:
            self.top = {_TOO_MANY: ""}
            self.places = {_TOP: self.top}

    def _note(self, place: _Place, value: Any, where: str) -> None:
        if len(place) > MAX_DEPTH:
            self._see(place, f"values nested more than {MAX_DEPTH} deep", where)
        elif isinstance(value, (list, tuple)):
            self._see(place, list, where)
            self._note_items((*place, _ITEM), value, where)
        elif isinstance(value, Mapping):
            self._note_mapping(place, value, where)
        elif isinstance(value, np.ndarray):
            self._note_array(place, value, where)
        else:
            self._see(place, _scalar_kind(value), where)
            if type(value) is int and _is_wide(value):
                self._see(place, _Wide, where)

    def _note_items(self, place: _Place, items: Sequence[Any], where: str) -> None:
        kinds = set(map(type, items))
        if kinds == {int}:
            # The smallest and the largest decide the type, and any whether a float holds all.
            wide = (item for item in items if not -EXACT_MAX <= item <= EXACT_MAX)
            wide = (item for item in wide if _is_wide(item))
            items = (min(items), max(items), *itertools.islice(wide, 1))
        elif kinds <= PLAIN.keys():
            for kind in kinds:
                self._see(place, kind, where)
            return
        for item in items:
            self._note(place, item, where)

    def _note_mapping(self, place: _Place, value: Mapping[Any, Any], where: str) -> None:
        # Parquet has no struct without fields, so an empty mapping is a null.
        self._see(place, dict if value else type(None), where)
        for name, item in value.items():
            if isinstance(name, str) and is_unicode(name):
                self._note((*place, name), item, where)
            else:
                kind = "invalid Unicode" if isinstance(name, str) else type(name).__name__
                self._see(place, f"a mapping with a key of {kind} (keys must be text)", where)

    def _note_array(self, place: _Place, array: np.ndarray[Any, Any], where: str) -> None:
        for _ in range(array.ndim):
            self._see(place, list, where)
            place = (*place, _ITEM)
        if array.dtype.hasobject:
            self._note_items(place, array.ravel().tolist(), where)
            return
        try:
            self._see(place, numpy_type(array.dtype), where)
        except ValueError as error:
            self._see(place, str(error), where)

    def _note_type(self, place: _Place, kind: pa.DataType, where: str) -> None:
        if pat.is_list(kind):
            self._see(place, list, where)
            self._note_type((*place, _ITEM), kind.value_type, where)
        elif pat.is_struct(kind):
            self._see(place, dict if kind.num_fields else type(None), where)
            for field in kind:
                self._note_type((*place, field.name), field.type, where)
        else:
            self._see(place, type(None) if pat.is_null(kind) else storable(kind), where)

    def _resolve(self, place: _Place, inside: dict[_Place, list[_Place]]) -> pa.DataType:
        kinds = self.places[place]
        faults = sorted(kind for kind in kinds if isinstance(kind, str))
        if faults:
            raise ValueError(_describe(place, {faults[0]: kinds[faults[0]]}))
        within = {at[-1]: self._resolve(at, inside) for at in inside.get(place, [])}
        types = []
        wide = kinds.get(_Wide)
        kinds = {kind: where for kind, where in kinds.items() if kind is not _Wide}
        for kind in kinds:
            if kind is list:
                types.append(pa.list_(within.get(_ITEM, pa.null())))
            elif kind is dict:
                names = [name for name in within if name != _ITEM]
                types.append(pa.struct([(name, within[name]) for name in names]))
            else:
                types.append(_arrow_type(kind, kinds))
        try:
            unified = unify_all(types)
        except ValueError:
            raise ValueError(f"{_describe(place, kinds)}, which no one type holds") from None
        if wide is not None and pat.is_floating(unified):
            raise ValueError(
                f"{_describe(place, kinds)}, and a double would round the integers beyond 2**53"
                + f" (in {wide})" * bool(wide)
            )
        return unified


def _restore(places: dict[_Place, dict[_Kind, str]]) -> Column:
    column = Column()
    column.places, column.top = places, places[_TOP]
    return column


def _scalar_kind(value: Any) -> _Kind:
    kind = type(value)
    if kind in PLAIN or (kind is int and 0 <= value <= INT64_MAX):
        return kind
    if kind is datetime.timedelta and not _LONGEST >= value >= -_LONGEST:
        return "a duration of more than 292,271 years"
    try:
        arrow = scalar_type(value)
    except ValueError as error:
        return str(error)
    return type(None) if pat.is_null(arrow) else arrow


def _is_wide(value: int) -> bool:
    # Beyond 64 bits no column holds it at all.
    return -INT64_MAX - 1 <= value <= 2 * INT64_MAX + 1 and not is_exact(value)


def _arrow_type(kind: Any, kinds: Mapping[_Kind, str]) -> pa.DataType:
    if kind is int:
        others = [other for other in kinds if isinstance(other, pa.DataType)]
        signed = any(pat.is_signed_integer(other) for other in others)
        return pa.uint64() if pa.uint64() in others and not signed else pa.int64()
    return PLAIN.get(kind, kind)


def _describe(place: _Place, kinds: Mapping[_Kind, str]) -> str:
    """Returns a text such as "holds string (in a.json) and int64 (in b.json)", without nulls."""
    found: dict[str, list[str]] = {}
    for kind, where in kinds.items():
        found.setdefault(_name(kind), []).append(where)
    found.pop("null", None)
    kinds_seen = [f"{name} (in {min(found[name])})".replace(" (in )", "") for name in sorted(found)]
    inside = "".join("[]" if part == _ITEM else f".{part}" for part in place)
    return f"holds {' and '.join(kinds_seen)}" + (f" at {inside}" if inside else "")


def _name(kind: Any) -> str:
    if kind in (list, dict, int):
        return {list: "list", dict: "struct", int: "int64"}[kind]
    return str(PLAIN.get(kind, kind))
