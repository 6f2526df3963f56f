from __future__ import annotations

import ast
import re

import pytest

from beam_export.naming import split_key
from beam_export.shards.card_recipes import recipes, tar_range
from beam_export.shards.hub_features import HubMembers
from beam_export.shards.manifest import Manifest, SplitShards, Totals

HASH = "0123456789ab"
#: What the lines of the card read with, in their order.
LOADERS = [
    *("webdataset", "datasets", "nvidia", "ray", "glob", "duckdb", "polars", "daft", "fsspec"),
    *("beam_export", "wids", "megatron"),
]


def manifest(*splits: tuple[str, int]) -> Manifest:
    """Returns the manifest of splits of so many shards, of 5 shards without."""
    first, found = 0, []
    for name, shards in splits:
        sizes = {"first_shard": first, "shards": shards, "samples": shards, "bytes": shards}
        found.append(SplitShards(name=name, key=split_key(name), **sizes))
        first += shards
    totals = Totals(**{**dict.fromkeys(Totals.__dataclass_fields__, 0), "shards": first or 5})
    given = {"options": {}, "software": {}, "steps": [], "schema": [], "tables": []}
    return Manifest(hash=HASH, totals=totals, splits=found, **given)


def blocks(text: str) -> dict[str, str]:
    """Returns the blocks of Python by the package that each imports first."""
    found = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return {re.split(r"[ .,\n]", block.split(" ", 1)[1])[0]: block for block in found}


@pytest.mark.parametrize("splits", [(), (("train", 3), ("v-1", 2))])
def test_each_loader_has_lines_of_python(splits: tuple[tuple[str, int], ...]) -> None:
    found = blocks(recipes(manifest(*splits), None))
    assert list(found) == LOADERS
    for block in found.values():
        ast.parse(block)


def test_without_splits_they_read_all_shards() -> None:
    found = blocks(recipes(manifest(), None))
    assert f'"images-{HASH}-{{000000..000004}}.tar"' in found["webdataset"]
    assert 'split="train"' in found["datasets"]
    assert "range(0, 5)" in found["ray"]
    assert f'"images-{HASH}-wids.json"' in found["wids"]


def test_with_splits_they_read_the_first_that_holds_anything() -> None:
    found = blocks(recipes(manifest(("none", 0), ("v-1", 2), ("train", 3)), None))
    assert f'"images-{HASH}-{{000000..000001}}.tar"' in found["webdataset"]
    assert 'split="v_1"' in found["datasets"]
    assert "range(0, 2)" in found["nvidia"]
    assert f'"images-{HASH}-v_1-wids.json"' in found["wids"]
    assert 'split_part="v_1"' in found["megatron"]


def test_images_of_several_formats_are_one_of_dalis_components() -> None:
    found = HubMembers(images=["jpg", "png"], fields=["txt"], arrays={}, classes=())
    assert 'ext=["jpg;png"]' in blocks(recipes(manifest(), found))["nvidia"]
    assert 'ext=["jpg"]' in blocks(recipes(manifest(), None))["nvidia"]


def test_a_range_of_shards_in_braces() -> None:
    assert tar_range(HASH, range(7, 12)) == f"images-{HASH}-{{000007..000011}}.tar"
