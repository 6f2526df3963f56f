"""Options on shards and samples: how large, in which order, how called, in which split."""

from __future__ import annotations

import dataclasses
from typing import Literal

from beam_export.declaration import Option, option
from beam_export.metadata.split_rule import SplitRule, parse_split

__all__ = ["LayoutOptions"]

#: The heading of `--help`.
LAYOUT = "shards and samples"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayoutOptions:
    """Which sample stands in which shard, and with which members."""

    images_per_tar: int = option(
        1000,
        Option("samples per shard, exact in all but the last", LAYOUT, shapes="always", at_least=1),
    )
    max_tar_bytes: int | None = option(
        None,
        Option(
            "close a shard at this size too; planned on the sizes of the sources",
            LAYOUT,
            shapes="always",
            at_least=1,
        ),
    )
    deterministic_name: bool = option(
        True, Option("name files by their content, else by a random token", LAYOUT, shapes="never")
    )
    member_names: Literal["id", "sequential"] = option(
        "id", Option("name samples in the tars by id or by their rank", LAYOUT, shapes="always")
    )
    order: Literal["source", "shuffled"] = option(
        "source", Option("the input's order, or a shuffle by --seed", LAYOUT, shapes="always")
    )
    seed: int = option(
        0, Option("names the permutation of --order=shuffled", LAYOUT, shapes="always")
    )
    limit: int | None = option(
        None,
        Option("export only the first N samples in order", LAYOUT, shapes="always", at_least=1),
    )
    duplicates: Literal["error", "first", "rename"] = option(
        "error", Option("of equal ids: stop, keep the first, or rename", LAYOUT, shapes="always")
    )
    labels: Literal["none", "folder"] = option(
        "none",
        Option(
            "folder: the innermost folder is the class: columns label and cls, a .cls member",
            LAYOUT,
            shapes="unless_default",
        ),
    )
    ragged_fields: Literal["keep", "drop", "fill", "error"] = option(
        "keep",
        Option(
            "of samples with unequal members: keep all, drop those that not all samples have, fill "
            "in empty .txt and .json, or error",
            LAYOUT,
            shapes="unless_default",
        ),
    )
    split: str | None = option(
        None,
        Option(
            "train=0.98,val=0.02: each sample by its id alone, whatever the seed; or a column of "
            "text; or folder, the first of the id: shards of its own for each, and a column split",
            LAYOUT,
            shapes="unless_default",
        ),
    )
    # A probe only finds failures earlier; which samples there are is in the hash.
    probe: Literal["off", "header", "full"] = option(
        "off",
        Option(
            "before planning, look at each image's header, or decode it in full, so that shards "
            "are exact over what can be read",
            LAYOUT,
            shapes="never",
        ),
    )

    @property
    def split_rule(self) -> SplitRule | None:
        """The parsed `--split`; None without."""
        return None if self.split is None else parse_split(self.split)
