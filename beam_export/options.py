"""The options of an export, of which flags, digests and templates are derived.

Each is declared once, in the group of its heading (`option_groups`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import Any

from beam_export.contradictions import check_together, known_encoding
from beam_export.declaration import declared
from beam_export.images.uniform import ensured
from beam_export.index_kinds import index_kinds
from beam_export.metadata.filter import needs_probe, needs_size
from beam_export.option_groups.images import ImageOptions
from beam_export.option_groups.layout import LayoutOptions
from beam_export.option_groups.run import PlaceOptions, RunOptions
from beam_export.option_groups.selection import SelectionOptions
from beam_export.storage.home import expand_given, expand_output

__all__ = ["ExportOptions"]


# The last base has the first fields, and the first heading of `--help`.
@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions(RunOptions, ImageOptions, LayoutOptions, SelectionOptions, PlaceOptions):
    """Options of an export; names, defaults and meanings are those of the flags.

    Raises:
        InputError: if a value makes no sense, in one sentence.
    """

    def __post_init__(self) -> None:
        self._expand_paths()
        # First, since the parser of filters has the better messages.
        needs_header = self.filter is not None and needs_probe(self.filter)
        for one in declared(type(self)).values():
            one.check(getattr(self, one.name))
        index_kinds(self.index)
        check_together({name: getattr(self, name) for name in declared(type(self))}, self.columns)
        # One value for what means the same: "UTF8" and "utf-8", "rgb,srgb" and "srgb,rgb",
        # "train=0.90, val=.1" and "train=0.9,val=0.1".
        object.__setattr__(self, "table_encoding", known_encoding(self.table_encoding))
        object.__setattr__(self, "ensure", ",".join(ensured(self.ensure)) or None)
        if self.split_rule is not None:
            object.__setattr__(self, "split", self.split_rule.text)
        if needs_header and self.probe == "off":
            object.__setattr__(self, "probe", "header")

    def _expand_paths(self) -> None:
        """Makes text of paths, and the home directory of `~`."""
        for one in declared(type(self)).values():
            value = getattr(self, one.name)
            if one.path is None or not isinstance(value, (str, os.PathLike)):
                continue
            text = os.fspath(value)
            if isinstance(text, str):
                # Nothing is ever made under a directory that is called `~`.
                expand = expand_output if one.path == "write_folder" else expand_given
                object.__setattr__(self, one.name, expand(text))

    @property
    def asks_sizes(self) -> bool:
        """Whether the sizes of images have to be known before samples are selected."""
        return self.probe != "off" or (self.filter is not None and needs_size(self.filter))

    def shaping(self) -> dict[str, Any]:
        """Returns the options that change the output, by name, with their values.

        >>> shaping = ExportOptions(output_dir="out", quality=80).shaping()
        >>> shaping["quality"], "output_dir" in shaping
        (80, False)
        """
        given = [(one, getattr(self, one.name)) for one in declared(type(self)).values()]
        return {one.name: value for one, value in given if one.enters(value)}

    def digest(self) -> bytes:
        """Returns the SHA-256 of the options that change the output."""
        text = json.dumps(self.shaping(), sort_keys=True)
        return hashlib.sha256(text.encode()).digest()
