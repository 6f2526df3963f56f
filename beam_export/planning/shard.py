"""The planned content of one shard: its refs with their keys in the tar, and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from beam_export import naming
from beam_export.planning.blocks import PackedRef, merged, open_block, unpack_ref
from beam_export.planning.plan import digest_sum
from beam_export.planning.splits import with_split
from beam_export.samples import SampleRef

__all__ = ["MARK_SIZE", "TWIN_SIZE", "keyed_refs", "shard_digest", "spilled_content", "weigh"]

#: Bytes behind the order key of a spilled sample: a digest of its content, which orders samples of
#: equal ids, and random ones, which keep apart samples that are equal in everything.
MARK_SIZE = 8
TWIN_SIZE = 6


def weigh(blocks: Iterable[bytes]) -> tuple[int, int]:
    """Returns the number of refs in blocks, and the sum of their digests."""
    count = total = 0
    for block in blocks:
        digests = open_block(block).digests
        count += len(digests)
        total = digest_sum(digests, total)
    return count, total


def keyed_refs(
    refs: Iterable[PackedRef],
    *,
    start: int,
    renamed: Mapping[bytes, str],
    sequential: bool,
    split: str | None = None,
) -> Iterator[tuple[SampleRef, str]]:
    """Yields (ref under its final id, key in the tar).

    Args:
        refs: the shard's, in order.
        start: rank of the first one in the dataset.
        renamed: new ids by order key, as `--duplicates=rename` assigns them.
        sequential: whether keys are made of ranks (`--member_names=sequential`), not of ids.
        split: the split that they are in; None without splits.
    """
    for place, packed in enumerate(refs):
        ref = unpack_ref(packed)
        if packed.order in renamed:
            ref = ref._replace(id=renamed[packed.order])
        if split is not None:
            ref = ref._replace(metadata=with_split(ref.metadata, split))
        yield ref, naming.sequential_key(start + place) if sequential else _key_of(ref)


def _key_of(ref: SampleRef) -> str:
    longest = max((len(field.ext) for field in ref.fields), default=0)
    return naming.key_of(ref.id, longest)


def shard_digest(
    number: int,
    count: int,
    digest: int,
    *,
    identity: Mapping[str, str],
    options: bytes,
    content: bytes,
    split: str | None = None,
) -> str:
    """Returns the hex digest of everything that decides a shard's bytes.

    Args:
        number: the shard's number.
        count: samples in it.
        digest: sum of the samples' digests (`weigh`).
        identity: of the encoder.
        options: digest of the options that shape the output.
        content: the serialized schema of the metadata columns, then `spilled_content`.
        split: the split that they are in; None without splits.
    """
    # Last, and only where there are splits: digests of other exports stay what they were.
    splits = [] if split is None else [split]
    text = json.dumps([number, count, dict(identity), *splits], sort_keys=True)
    parts = (text.encode(), digest.to_bytes(32, "big"), options, content)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def spilled_content(blocks: Sequence[bytes], workspace: str) -> bytes:
    """Returns the content digests of the refs whose bytes were spilled; b"" if none were.

    Spilled files are of one run, so a later one knows by these alone that a shard is the same.

    Args:
        blocks: of all of the shard's refs, in any order.
        workspace: where spilled files lie.
    """
    marks = []
    spilled = workspace.encode("utf-8", "surrogatepass")
    # Order matters to the marks alone, and most shards have none.
    if not any(spilled in body for block in blocks for body in open_block(block).bodies):
        return b""
    for packed in merged(blocks):
        if spilled not in packed.body:  # as of all that a command line reads
            continue
        ref = unpack_ref(packed)
        if any(one.uri.startswith(f"{workspace}/") for one in (ref.image, *ref.fields)):
            marks.append(packed.order[-MARK_SIZE - TWIN_SIZE : -TWIN_SIZE])
    return b"".join(marks)
