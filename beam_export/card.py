"""The dataset card: a README that a hub shows, with what a reader of the dataset has to know."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from beam_export.manifest import Manifest
from beam_export.markdown import code, plain
from beam_export.naming import ShardNames
from beam_export.provenance import tell_step
from beam_export.text import size

__all__ = ["MARK", "dataset_card"]

#: Stands in every card of ours; a README without it is somebody's own.
MARK = "<!-- made by beam_export -->"

# Front matter as the Hugging Face hub reads it ("Dataset Cards" in its documentation).
_TEMPLATE = """---
configs:
- config_name: default
  data_files: {some_tars}
size_categories:
- {size_category}
---
{mark}

# Images, {written:,} in {shards:,} shards

{written:,} images, {size} of tar, {per_shard} a shard. Each `.tar` (WebDataset) stands beside
a `.parquet` with one row an image: where its bytes lie, what it is, and all that was known of it.

## Read it

```python
import webdataset
dataset = webdataset.WebDataset("{all_tars}", shardshuffle=False).decode("pil")
```

```python
import datasets
dataset = datasets.load_dataset("webdataset", data_files="{some_tars}")
```

```python
import glob, pyarrow.dataset
table = pyarrow.dataset.dataset(sorted(glob.glob("{some_tables}"))).to_table()
```

## Columns

| column | type |
|---|---|
{columns}

## How it came to be

| step | |
|---|---|
{steps}

`{manifest}` holds the same for programs, with the versions of all software that shaped it.
"""


def dataset_card(manifest: Manifest) -> bytes:
    """Returns the card, as Markdown with the front matter that a hub reads."""
    totals, names = manifest.totals, ShardNames(manifest.hash)
    text = _TEMPLATE.format(
        mark=MARK,
        some_tars=f"images-{manifest.hash}-*.tar",
        some_tables=f"images-{manifest.hash}-*.parquet",
        all_tars=f"images-{manifest.hash}-{{000000..{totals.shards - 1:06d}}}.tar",
        size_category=_size_category(totals.written),
        written=totals.written,
        shards=totals.shards,
        size=size(totals.bytes),
        per_shard=_per_shard(manifest.options),
        columns=_rows((column["name"], plain(column["type"])) for column in manifest.schema),
        steps=_rows((step["step"], tell_step(step)) for step in manifest.steps),
        manifest=names.manifest,
    )
    return text.encode("utf-8", "backslashreplace")


def _rows(pairs: Iterable[tuple[str, str]]) -> str:
    """Returns rows of a name, set as code, and of Markdown that fits a cell."""
    return "\n".join(f"| {code(name)} | {text} |" for name, text in pairs)


def _size_category(samples: int) -> str:
    """Returns the hub's own word for a dataset's size."""
    if samples < 1_000:
        return "n<1K"
    words = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    for power, (low, high) in enumerate(itertools.pairwise(words), 4):
        if samples < 10**power:
            return f"{low}<n<{high}"
    return "n>1B"


def _per_shard(options: Mapping[str, Any]) -> str:
    most = options["images_per_tar"]
    return f"at most {most}" if options.get("max_tar_bytes") else str(most)
