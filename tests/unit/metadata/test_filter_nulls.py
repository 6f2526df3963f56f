"""Filters against the same logic worked out in Python, row by row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from beam_export.metadata.filter import Filter

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Term:
    """An expression in SQL and what it is of a row: None is null."""

    sql: str
    of: Callable[[Row], Any]

    def __repr__(self) -> str:
        return self.sql


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def strict(work: Callable[..., float]) -> Callable[..., float | None]:
    """Null of null, and of what cannot be worked out or has no end."""

    def worked(*values: float | None) -> float | None:
        if None in values:
            return None
        try:
            return finite(work(*values))
        except (ArithmeticError, ValueError):
            return None

    return worked


def column(name: str) -> Term:
    def of(row: Row) -> Any:
        value = row[name]
        return None if isinstance(value, float) and math.isnan(value) else value

    return Term(name, of)


def constant(value: float) -> Term:
    return Term(f"{value!r}e0" if "e" not in repr(value) else repr(value), lambda row: value)


def combined(template: str, work: Callable[..., Any]) -> Callable[..., Term]:
    def make(*terms: Term) -> Term:
        sql = template.format(*(term.sql for term in terms))
        return Term(f"({sql})", lambda row: work(*(term.of(row) for term in terms)))

    return make


def greatest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def coalesce(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def both(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def opposite(a: bool | None) -> bool | None:
    return None if a is None else not a


def either(a: bool | None, b: bool | None) -> bool | None:
    return opposite(both(opposite(a), opposite(b)))


def compared(work: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    return lambda a, b: None if a is None or b is None else work(a, b)


less = compared(lambda a, b: a < b)
same = compared(lambda a, b: a == b)

ONE = [
    combined("sqrt({})", strict(math.sqrt)),
    combined("abs({})", strict(abs)),
    combined("- {}", strict(lambda a: -a)),
    combined("floor({})", strict(math.floor)),
    combined("cast(cast({} as varchar) as double)", strict(lambda a: a)),
]
TWO = [
    combined("{} + {}", strict(lambda a, b: a + b)),
    combined("{} - {}", strict(lambda a, b: a - b)),
    combined("{} * {}", strict(lambda a, b: a * b)),
    combined("{} / {}", strict(lambda a, b: a / b)),
    combined("{} % {}", strict(math.fmod)),
    combined("greatest({}, {})", greatest),
    combined("list_max([{}, {}])", greatest),
    combined("coalesce({}, {})", coalesce),
    combined("nullif({}, {})", lambda a, b: None if same(a, b) else a),
]
COMPARISONS = [
    combined("{} < {}", less),
    combined("{1} > {0}", less),
    combined("{} >= {}", lambda a, b: opposite(less(a, b))),
    combined("{} = {}", same),
    combined("{} <> {}", lambda a, b: opposite(same(a, b))),
    combined("{} is distinct from {}", lambda a, b: a != b),
    combined("{} in ({}, 1e0)", lambda a, b: either(same(a, b), same(a, 1))),
    combined(
        "{} between {} and 2e0", lambda a, b: both(opposite(less(a, b)), opposite(less(2, a)))
    ),
    combined("{0} is null and {1} is not null", lambda a, b: a is None and b is not None),
]


def grow_numbers(smaller: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    choice = combined("case when {} < {} then {} else {} end", lambda a, b, c, d: (
        c if less(a, b) else d
    ))  # fmt: skip
    return st.one_of(
        st.builds(lambda make, a: make(a), st.sampled_from(ONE), smaller),
        st.builds(lambda make, a, b: make(a, b), st.sampled_from(TWO), smaller, smaller),
        st.builds(choice, smaller, smaller, smaller, smaller),
    )


def grow_conditions(smaller: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    return st.one_of(
        st.builds(combined("not {}", opposite), smaller),
        st.builds(combined("{} and {}", both), smaller, smaller),
        st.builds(combined("{} or {}", either), smaller, smaller),
        st.builds(combined("{} is null", lambda a: a is None), smaller),
        st.builds(combined("case when {} then {} end", lambda a, b: b if a else None), smaller,
                  smaller),
    )  # fmt: skip


CONSTANTS = [0.0, 0.5, 1.0, 2.0, 3.0, 1e308, 1e-300]
numbers = st.recursive(
    st.one_of(st.sampled_from(["x", "y"]).map(column), st.sampled_from(CONSTANTS).map(constant)),
    grow_numbers,
    max_leaves=5,
)
conditions = st.recursive(
    st.builds(lambda make, a, b: make(a, b), st.sampled_from(COMPARISONS), numbers, numbers),
    grow_conditions,
    max_leaves=4,
)
value = st.sampled_from([None, math.nan, math.inf, -math.inf, 0.0, -0.0, 0.25, 1.0, -4.0, 1e200])
rows = st.lists(st.fixed_dictionaries({"x": value, "y": value}), min_size=1, max_size=12)


def kept(text: str, rows: Sequence[Row], batch: int) -> list[bool]:
    types = {"x": pa.float64(), "y": pa.float64()}
    bound = Filter(text).bind(types)
    found: list[bool] = []
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        columns = {name: pa.array([row[name] for row in some], types[name]) for name in bound.types}
        found += bound.keep(columns, len(some))
    return found


@given(conditions, rows, st.integers(1, 12))
def test_what_is_no_number_is_null_throughout(term: Term, rows: Sequence[Row], batch: int) -> None:
    assert kept(term.sql, rows, batch) == [term.of(row) is True for row in rows]
