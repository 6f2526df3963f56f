"""The dataset card: the README.md of the output, made of the manifest.

A card is Markdown around text that anybody may have written (names of columns, files, filters).
Such text is set as code where a renderer could find a tag, a link, emphasis or a formula in it, and
stays as it is otherwise; either way it keeps to one cell of a table and is cut when it is long.

Sources: "Dataset Cards" in the documentation of the Hugging Face hub, for the front matter;
CommonMark 0.31.2, parts 6.1 to 6.9; GitHub Flavored Markdown: tables, strikethrough and extended
autolinks, which are looked for in what entities and escapes stand for, too.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_export.naming import CARD_MARK, ShardNames
from beam_export.shards.card_recipes import recipes, tar_range
from beam_export.shards.globs import tar_globs
from beam_export.shards.hub_features import HubMembers, features_yaml
from beam_export.shards.manifest import Manifest, SplitShards, Totals
from beam_export.shards.member_sets import describe_members
from beam_export.text import cut, escaped, size

__all__ = ["code", "dataset_card", "describe_step", "is_card", "plain"]


#: Digests of what does not vary in the cards of versions that kept no record of theirs.
_SKELETONS = frozenset({"86be82651294e521a08df4d64e9f54fe6b95cf05faa50fa51b946924547877b0"})
#: What varies: hashes in names, rows of tables, the size category, sizes, numbers.
_VARYING = (
    (r"images-[0-9a-f]{12}-", "images-"),
    (r"(?m)^\|.*\n", ""),
    (r"(?m)^- (?:n[<>]|[0-9]+[KMB]<n<)[0-9]+[KMB]$", "- n"),
    (r"[0-9][0-9,.]*(?: (?:bytes?|[kMGTP]B))? of tar, (?:at most )?[0-9]+", "of tar"),
    (r"[0-9][0-9,]*", "0"),
)

#: Kinds of files that the card lists, and characters of a filter: the manifest has them all.
_MOST_KINDS = 100
_LONGEST_FILTER = 2000

_HAZARDS = re.compile(
    r"""
    [`$\\~^@]                                       # code, formulas, escapes, strikethrough, mail
    | & (?=[\#a-z])                                 # entities
    | < (?=[/!?]) | < [a-z][a-z0-9-]*+ (?=[\s/>]|:\S|$)   # tags and autolinks
    | \* (?=\S) | (?<=\S) \*                        # emphasis
    | (?<![^\W_]) _ | _ (?![^\W_])
    | (?<![\w>]) \[ | \[ (?=\^) | \] (?=[(\[:])        # links, images, footnotes
    | :// | www\. | : \S+ :                         # autolinks, emoji
    """,
    re.VERBOSE | re.IGNORECASE,
)

_TEMPLATE = """---
configs:
- config_name: default
  data_files:{data_files}
{dataset_info}size_categories:
- {size_category}
---
{mark}

# Images, {written:,} in {shards:,} shards

{written:,} images, {size} of tar, {per_shard} a shard. Each `.tar` (WebDataset) stands beside
a `.parquet` with one row an image: where its bytes lie, what it is, and all that was known of it.
{splits}
## Read it

{recipes}

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


def dataset_card(
    manifest: Manifest,
    noted: Sequence[Mapping[str, Any]] = (),
    *,
    hub: HubMembers | None = None,
) -> bytes:
    """Returns the card, as Markdown with the front matter that a hub reads.

    Args:
        manifest: of the dataset.
        noted: steps that need not stand in the manifest, since they changed nothing.
        hub: the members of all samples; None if they are too many, or not known.
    """
    totals, names = manifest.totals, ShardNames(manifest.hash)
    # Empty ones are in the manifest alone: no reader can do anything with them.
    splits = [split for split in manifest.splits if split.shards]
    some_tars = f"images-{manifest.hash}-*.tar"
    steps = [*manifest.steps, *(step for step in noted if step not in manifest.steps)]
    text = _TEMPLATE.format(
        mark=CARD_MARK,
        data_files=_data_files(splits, manifest) if splits else f" {some_tars}",
        dataset_info=_dataset_info(splits, totals, features_yaml(hub)),
        splits=_split_rows(splits, manifest.hash) if splits else "",
        recipes=recipes(manifest, hub),
        size_category=_size_category(totals.written),
        written=totals.written,
        shards=totals.shards,
        size=size(totals.bytes),
        per_shard=_per_shard(manifest.options),
        columns=_rows((column["name"], plain(column["type"])) for column in manifest.schema),
        steps=_rows((step["step"], describe_step(step)) for step in steps),
        manifest=names.manifest,
    )
    return text.encode("utf-8", "backslashreplace")


def _data_files(splits: Sequence[SplitShards], manifest: Manifest) -> str:
    """Returns the YAML of the files of each split."""
    lines = [""]
    for split in splits:
        globs = tar_globs(ShardNames(manifest.hash), split.numbers, manifest.totals.shards)
        # In quotes: a key of digits would be a number.
        lines += [f'  - split: "{split.key}"', "    path:"]
        lines += [f'    - "{one}"' for one in globs]
    return "\n".join(lines)


def _dataset_info(splits: Sequence[SplitShards], totals: Totals, features: Sequence[str]) -> str:
    """Returns the YAML of the types that `datasets` reads, and of what it holds splits against."""
    # Without splits, all that it reads is called so.
    sizes = [(one.key, one.bytes, one.samples) for one in splits]
    lines = ["dataset_info:", *(f"  {line}" for line in features), "  splits:"]
    for name, bytes_, samples in sizes or [("train", totals.bytes, totals.written)]:
        lines += [f'  - name: "{name}"', f"    num_bytes: {bytes_}"]
        lines.append(f"    num_examples: {samples}")
    return "\n".join([*lines, ""])


def _split_rows(splits: Sequence[SplitShards], hash_: str) -> str:
    """Returns the section on splits; with the names that loaders take, where those are others."""
    others = any(split.key != split.name for split in splits)
    head = ["split", *(["for loaders"] if others else []), "images", "shards", "tars"]
    rows = [
        [
            code(split.name),
            *([f"`{split.key}`"] if others else []),
            f"{split.samples:,}",
            f"{split.shards:,}",
            f"`{tar_range(hash_, split.numbers)}`",
        ]
        for split in splits
    ]
    table = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join(["", "## Splits", "", table[0], "|---" * len(head) + "|", *table[1:], ""])


def _rows(pairs: Iterable[tuple[str, str]]) -> str:
    """Returns rows of a name, set as code, and of Markdown that fits a cell."""
    return "\n".join(f"| {code(name)} | {text} |" for name, text in pairs)


def _size_category(samples: int) -> str:
    """Returns the hub's term for a dataset's size.

    >>> _size_category(999), _size_category(25_000)
    ('n<1K', '10K<n<100K')
    """
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


def describe_step(step: Mapping[str, Any]) -> str:
    """Returns a step of the manifest in words: Markdown for a cell of a table."""
    describe = _DESCRIPTIONS.get(step["step"])
    if describe is not None:
        return describe(step)
    return ", ".join(
        f"{plain(name)}: {_value(value)}" for name, value in step.items() if name != "step"
    )


def _value(value: Any) -> str:
    if not isinstance(value, Mapping):
        return plain(str(value))
    items = [f"{plain(repr(name))}: {count}" for name, count in list(value.items())[:_MOST_KINDS]]
    left_out = len(value) - len(items)
    return f"{{{', '.join([*items, *([f'{left_out:,} more'] if left_out else [])])}}}"


def _describe_kept(step: Mapping[str, Any]) -> str:
    return f"kept only the {_ids(step)}; left out {_count(step['dropped'], 'sample')}"


def _describe_left_out(step: Mapping[str, Any]) -> str:
    return f"left out {_count(step['dropped'], 'sample')} by the {_ids(step)}"


def _ids(step: Mapping[str, Any]) -> str:
    unmatched = step["ids_unmatched"]
    none = f" ({unmatched:,} of which match no sample{_like(step, 'ids')})" if unmatched else ""
    return f"{_count(step['ids'], 'id')} of {plain(step['file'])}{none}"


def _describe_join(step: Mapping[str, Any]) -> str:
    return (
        f"joined the columns of {plain(step['table'])} ({_count(step['rows'], 'row')}) by "
        f"{plain(step['key'])}: "
        f"{_count(step['samples_matched'], 'sample')} with a row, "
        f"{step['samples_unmatched']:,} without{_like(step, 'samples')}, and "
        f"{_count(step['rows_unmatched'], 'row')} without a sample{_like(step, 'rows')}"
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _like(step: Mapping[str, Any], what: str) -> str:
    shown: Sequence[str] = step.get(f"{what}_unmatched_examples", ())
    return f", like {', '.join(map(plain, shown[:3]))}" if shown else ""


def _describe_filter(step: Mapping[str, Any]) -> str:
    kept = plain(step["filter"], _LONGEST_FILTER)
    return f"kept where {kept}; left out {_count(step['dropped'], 'sample')}"


def _describe_split(step: Mapping[str, Any]) -> str:
    samples = (f"{plain(name)} {count:,}" for name, count in step["samples"].items())
    return f"split by {plain(step['split'], _LONGEST_FILTER)}: {', '.join(samples)}"


def _describe_caption(step: Mapping[str, Any]) -> str:
    return f"wrote column {plain(step['column'])} as each sample's .txt, empty where there is none"


def _describe_members(step: Mapping[str, Any]) -> str:
    said = []
    if columns := step.get("json_columns"):
        said.append(f"wrote {_count(len(columns), 'column')} as each sample's .{step['json']} too")
    if dropped := step.get("dropped"):
        said.append(f"left out members that not all samples have: {_exts(dropped)}")
    if filled := step.get("filled"):
        said.append(f"added empty members where samples lack them: {_exts(filled)}")
    if step["unequal"]:
        unequal = describe_members(step["members"], step["samples"])
        said.append(f"samples have unequal members: {plain(unequal)}")
    return "; ".join(said) or "all samples have the same members"


def _exts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{plain(f'.{ext}')} of {_count(n, 'sample')}" for ext, n in counts.items())


_DESCRIPTIONS = {
    "members": _describe_members,
    "keep ids": _describe_kept,
    "leave out ids": _describe_left_out,
    "join": _describe_join,
    "filter": _describe_filter,
    "caption": _describe_caption,
    "split": _describe_split,
}


def plain(text: str, most: int = 200) -> str:
    r"""Returns text for a cell: as it is, or as code if Markdown could take it for more than text.

    >>> plain("score < 0.5"), plain("a <b> c")
    ('score < 0.5', '`a <b> c`')
    """
    if len(text) > most or escaped(text) != text or _HAZARDS.search(text):
        return code(text, most)
    return text.replace("|", r"\|")


def code(text: str, most: int = 200) -> str:
    r"""Returns text for a cell, set as code; what would end the cell or the code is escaped.

    >>> code("a`b|c")
    '`a\\x60b\\|c`'
    """
    kept = escaped(cut(text, most)).replace("`", r"\x60")
    # Readers disagree on what a bar after two backslashes is.
    kept = kept.replace(r"\|", r"\\x7c").replace("|", r"\|")
    return f"`{kept}`"


def is_card(content: bytes, digests: Iterable[str]) -> bool:
    """Returns whether a README is a card that this tool has written and nobody has edited.

    Args:
        content: of the README.
        digests: SHA-256, in hex, of the cards that runs have recorded to have written. Where there
            are none, those of earlier versions are known by their text, but for names and numbers.
    """
    recorded = set(digests)
    # A record decides alone: a skeleton has no numbers, so that an edit of one would not show.
    if recorded:
        return hashlib.sha256(content).hexdigest() in recorded
    return _skeleton(content) in _SKELETONS


def _skeleton(content: bytes) -> str:
    """Returns a digest of a card without what varies between datasets."""
    text = content.decode("utf-8", "replace")
    for pattern, replacement in _VARYING:
        text = re.sub(pattern, replacement, text)
    return hashlib.sha256(text.encode()).hexdigest()
