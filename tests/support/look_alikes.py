"""Names of files that look like this tool's, and a README that looks like its card."""

from __future__ import annotations

from beam_export.naming import CARD_MARK

IN_MEMORY = "--direct_running_mode=in_memory"
#: Names as this tool makes them at random.
TOKEN, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
#: The hash in the names of shards that another tool has made.
CURATOR = "0123456789ab"
#: Files of a shard, and those that exist once per dataset, with a place for the hash.
SHARD = ("images-{}-000000.tar", "images-{}-000000.parquet")
ONE = ("images-{}-manifest.json", "_meta/images-{}-shards.parquet", "_meta/images-{}-run.json")
README = f"# Mine\n\nA card of beam_export holds `{CARD_MARK}`, and this is none.\n\n{CARD_MARK}\n"
