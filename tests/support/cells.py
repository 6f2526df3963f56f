"""Parquet files with one known cell a row, in columns of each kind that holds bytes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from support.tables import HF, parquet

TEXTS = [None if n % 7 == 3 else b"%04d" % n * (n % 50) for n in range(300)]
KINDS = {"plain": pa.binary(), "large": pa.large_binary(), "struct": HF}


def _table_of(kind: str) -> bytes:
    column: list[Any] = list(TEXTS)
    if kind == "struct":
        column = [None if one is None else {"bytes": one, "path": "x"} for one in TEXTS]
    table = pa.table({"a.b": pa.array(column, KINDS[kind]), "n": range(300)})
    return parquet(table, row_group_size=128, use_dictionary=False)


FILES = {f"{kind}{number}": _table_of(kind) for kind in KINDS for number in range(2)}
