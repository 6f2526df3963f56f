"""Options on what is known of the samples, and which of them are taken."""

from __future__ import annotations

import dataclasses

from beam_export.declaration import Option, option
from beam_export.metadata.columns import ColumnChoice, split_names

__all__ = ["SelectionOptions"]

#: The heading of `--help`.
SELECTION = "what is known of the samples, and which are taken"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Tables, columns, filters and lists of ids."""

    # Paths of tables and lists never enter the hash: what they hold is in the samples' digests. The
    # text of a filter does, though its result is in the digests too, for the manifest to show it.
    metadata: str | None = option(
        "auto",
        Option(
            "tables (.parquet, .csv, .jsonl), comma-separated, whose columns join each sample by "
            "id; auto: the metadata.csv, .jsonl or .parquet with file_name in a folder of images; "
            "none",
            SELECTION,
            shapes="never",
            path="read_file",
            several=True,
        ),
    )
    metadata_key: str = option(
        "image_id", Option("the table's column with the ids", SELECTION, shapes="never")
    )
    table_encoding: str = option(
        "utf-8",
        Option(
            "of CSV, JSON lines, lists of ids, as Python has it; a byte-order mark says otherwise",
            SELECTION,
            shapes="unless_default",
        ),
    )
    drop_columns: str | None = option(
        None,
        Option(
            "metadata columns to leave out, comma-separated; a * stands for any characters",
            SELECTION,
            shapes="unless_default",
            several=True,
        ),
    )
    text_columns: str | None = option(
        None,
        Option(
            "columns to keep as JSON text, as --drop_columns: what no one type holds",
            SELECTION,
            shapes="unless_default",
            several=True,
        ),
    )
    filter: str | None = option(
        None,
        Option(
            "keep samples for which a SQL condition over the columns, width, height, size and "
            "format is true: score >= 0.5 and width > 256; columns are checked before anything "
            "runs where tables name them, and before anything is written where only JSON does",
            SELECTION,
            shapes="always",
        ),
    )
    ids: str | None = option(
        None,
        Option(
            "keep these: a file of ids, one per line, or a Parquet column",
            SELECTION,
            shapes="never",
            path="read_file",
        ),
    )
    exclude_ids: str | None = option(
        None, Option("leave these out; as --ids", SELECTION, shapes="never", path="read_file")
    )
    caption_column: str | None = option(
        None, Option("text that is also written as KEY.txt", SELECTION, shapes="always")
    )

    json_columns: str | None = option(
        None,
        Option(
            "metadata columns that are also written as KEY.json, comma-separated, or all",
            SELECTION,
            shapes="unless_default",
            several=True,
        ),
    )

    @property
    def columns(self) -> ColumnChoice:
        """The columns of `--drop_columns` and `--text_columns`."""
        return ColumnChoice(split_names(self.drop_columns), split_names(self.text_columns))

    @property
    def lookups(self) -> dict[str, str]:
        """The paths of the tables that are joined with the samples, by option."""
        named = {"metadata": self.tables, "ids": self.ids, "exclude_ids": self.exclude_ids}
        return {name: path for name, path in named.items() if path is not None}

    @property
    def tables(self) -> str | None:
        """The paths of the tables of `--metadata`; None for `auto` and `none`."""
        return None if self.metadata in (None, "auto", "none") else self.metadata

    @property
    def selects(self) -> bool:
        """Whether samples are selected by `--ids`, `--exclude_ids` or `--filter`."""
        return self.filter is not None or self.ids is not None or self.exclude_ids is not None
