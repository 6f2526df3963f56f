"""Hugging Face's description of columns: names of classes, types such as Image, kept with columns.

`datasets` keeps it in the schema's metadata, as JSON under the key `huggingface`, and reads it back
for the columns whose Arrow types are still those that it describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

__all__ = ["HUGGINGFACE", "features_of", "types_in", "with_features"]

HUGGINGFACE = b"huggingface"


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """Returns Hugging Face's features of the columns of a schema, by name; of none if it has none.

    >>> kind = {"_type": "ClassLabel", "names": ["cat", "dog"]}
    >>> schema = pa.schema([("label", pa.int64()), ("n", pa.int8())])
    >>> features_of(with_features(schema, {"label": kind}))
    {'label': {'_type': 'ClassLabel', 'names': ['cat', 'dog']}}
    """
    try:
        stored: Any = json.loads((schema.metadata or {}).get(HUGGINGFACE, b"{}"))
        features: Any = stored["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        # Of another version, or damaged: columns keep their Arrow types in any case.
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: features[name] for name in schema.names if name in features}


def types_in(feature: Any) -> frozenset[str]:
    """Returns the types that a feature is made of, in lists and structs too.

    >>> sorted(types_in({"_type": "List", "feature": {"_type": "ClassLabel", "names": ["cat"]}}))
    ['ClassLabel', 'List']
    """
    found, left = set(), [feature]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            found |= {one["_type"]} if isinstance(one.get("_type"), str) else set()
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
    return frozenset(found)


def with_features(schema: pa.Schema, features: Mapping[str, Any]) -> pa.Schema:
    """Returns a schema with Hugging Face's features of some of its columns, beside its metadata."""
    if not features:
        return schema
    text = json.dumps({"info": {"features": dict(features)}}, sort_keys=True, ensure_ascii=False)
    return schema.with_metadata({**(schema.metadata or {}), HUGGINGFACE: text.encode()})
