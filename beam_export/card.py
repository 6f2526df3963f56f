"""The dataset card: a README that a hub shows, with what a reader of the dataset has to know."""

from __future__ import annotations

from beam_export.manifest import Manifest
from beam_export.naming import ShardNames

__all__ = ["MARK", "dataset_card"]

#: Stands in every card of ours; a README without it is somebody's own.
MARK = "<!-- made by beam_export -->"


def dataset_card(manifest: Manifest) -> bytes:
    """Returns the card, as Markdown with the front matter that a hub reads."""
    totals, names = manifest.totals, ShardNames(manifest.hash)
    tars = f"images-{manifest.hash}-{{000000..{totals.shards - 1:06d}}}.tar"
    return f"""---
configs:
- config_name: default
  data_files: images-{manifest.hash}-*.tar
size_categories:
- {_size_category(totals.written)}
task_categories:
- image-classification
---
{MARK}

# Images, {totals.written:,} in {totals.shards:,} shards

{totals.written:,} images, {_size(totals.bytes)} of tar, `{manifest.options["images_per_tar"]}` a
shard. Each `.tar` (WebDataset) stands beside a `.parquet` with one row an image: where its bytes
lie, what it is, and all that was known of it.

## Read it

```python
import webdataset
dataset = webdataset.WebDataset("{tars}", shardshuffle=False).decode("pil")
```

```python
import datasets
dataset = datasets.load_dataset("webdataset", data_files="images-{manifest.hash}-*.tar")
```

```python
import glob, pyarrow.dataset
table = pyarrow.dataset.dataset(sorted(glob.glob("images-{manifest.hash}-*.parquet"))).to_table()
```

## Columns

| column | type |
|---|---|
{_rows((column["name"], column["type"]) for column in manifest.schema)}

## How it came to be

| step | |
|---|---|
{_rows((step["step"], _told(step)) for step in manifest.steps)}

`{names.manifest}` holds the same for programs, with the versions of all software that shaped it.
""".encode("utf-8", "backslashreplace")


def _rows(pairs: object) -> str:
    return "\n".join(f"| `{_cell(name)}` | {_cell(text)} |" for name, text in pairs)  # type: ignore[attr-defined]


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _told(step: object) -> str:
    facts = {name: value for name, value in dict(step).items() if name != "step"}  # type: ignore[call-overload]
    return ", ".join(f"{name}: {value}" for name, value in facts.items())


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def _size_category(samples: int) -> str:
    """Returns the hub's own word for a dataset's size."""
    bounds = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
    words = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    if samples < bounds[0]:
        return "n<1K"
    for upper, low, high in zip(bounds[1:], words, words[1:], strict=False):
        if samples < upper:
            return f"{low}<n<{high}"
    return "n>1B"
