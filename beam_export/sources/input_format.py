"""Decides by its content how an input is read: as image files, tars or tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from beam_export.sources.entries import Entry, Item, Listed, Skipped, Source, join, kind_of

__all__ = ["choose"]

#: The kinds of sources that each `--input_format` reads; `auto` is more than a set.
_READ = {
    "files": frozenset[str](),
    "webdataset": frozenset({"webdataset"}),
    "parquet": frozenset({"parquet"}),
    "table": frozenset({"parquet", "table"}),
}


def choose(found: Iterable[Item], input_format: str) -> Iterator[Item]:
    """Yields the items of one input that are read, in order; all others as `Skipped`.

    Under `auto`, tables are read where there are neither image files nor tars: beside those they
    describe them, and name no other images.

    Args:
        found: all that one input holds.
        input_format: as the flag.
    """
    found = (_unhidden(item) for item in found)
    return _choose_auto(found) if input_format == "auto" else _choose_given(found, input_format)


def _unhidden(item: Item) -> Item:
    """Skips sources in folders like `_meta`, which describe a dataset and are not its data."""
    if isinstance(item, Source) and any(part[:1] in "._" for part in item.relative.split("/")):
        return Skipped(kind_of(item.relative))
    return item


def _choose_auto(
    found: Iterable[Item],
) -> Iterator[Item]:
    # Held back to the end, since the last file of an input can be its first image.
    tables: list[Source] = []
    only_tables = True
    for item in found:
        if isinstance(item, Source) and item.kind != "webdataset":
            tables.append(item)
            continue
        only_tables = only_tables and not isinstance(item, (Listed, Source))
        yield item
    for table in tables:
        yield table if only_tables else Skipped(kind_of(table.relative))


def _choose_given(found: Iterable[Item], input_format: str) -> Iterator[Item]:
    kinds = _READ[input_format]
    for item in found:
        if isinstance(item, Source) and item.parquet is not None and "parquet" in kinds:
            # Tables are asked for: the Parquet beside a tar is one then.
            yield Skipped(kind_of(item.relative))
            yield _table_of(item, item.parquet)
        elif isinstance(item, Source) and item.kind not in kinds:
            yield Skipped(kind_of(item.relative))
        elif isinstance(item, Listed) and input_format != "files":
            yield Skipped(kind_of(item.relative))
            yield from (Skipped(f".{field.ext}") for field in item.fields)
        else:
            yield item


def _table_of(tar: Source, table: Entry) -> Source:
    place = join(tar.relative.rpartition("/")[0], table.name)
    return Source(kind="parquet", relative=place, uri=table.uri, size=table.size)
