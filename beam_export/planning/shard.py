"""What one shard is to hold: its refs with their keys in the tar, and the digest of all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

from beam_export import naming
from beam_export.planning.blocks import PackedRef, open_block, unpack_ref
from beam_export.planning.plan import digest_sum
from beam_export.samples import SampleRef

__all__ = ["MARK", "TWIN", "keyed_refs", "shard_digest", "spilled_content", "weigh"]

#: Bytes behind the order key of a spilled sample: a digest of its content, which orders samples of
#: equal ids, and random ones, which keep apart samples that are equal in everything.
MARK = 8
TWIN = 6


def weigh(blocks: Iterable[bytes]) -> tuple[int, int]:
    """Returns the number of refs in blocks, and the sum of their digests."""
    count = total = 0
    for block in blocks:
        digests = open_block(block).digests
        count += len(digests)
        total = digest_sum(digests, total)
    return count, total


def keyed_refs(
    refs: Iterable[PackedRef], *, start: int, renamed: Mapping[bytes, str], sequential: bool
) -> Iterator[tuple[SampleRef, str]]:
    """Yields (ref under its final id, key in the tar).

    Args:
        refs: the shard's, in order.
        start: rank of the first one in the dataset.
        renamed: new ids by order key, as `--duplicates=rename` assigns them.
        sequential: whether keys are made of ranks (`--member_names=sequential`), not of ids.
    """
    for place, packed in enumerate(refs):
        ref = unpack_ref(packed)
        if packed.order in renamed:
            ref = ref._replace(id=renamed[packed.order])
        key = naming.sequential_key(start + place) if sequential else naming.key_of(ref.id)
        yield ref, key


def shard_digest(
    number: int,
    count: int,
    digest: int,
    *,
    identity: Mapping[str, str],
    options: bytes,
    content: bytes,
) -> str:
    """Returns the hex digest of everything that decides a shard's bytes.

    Args:
        number: the shard's number.
        count: samples in it.
        digest: sum of the samples' digests (`weigh`).
        identity: of the encoder.
        options: digest of the options that shape the output.
        content: the serialized schema of the metadata columns, then `spilled_content`.
    """
    text = json.dumps([number, count, dict(identity)], sort_keys=True)
    parts = (text.encode(), digest.to_bytes(32, "big"), options, content)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def spilled_content(refs: Iterable[PackedRef], workspace: str) -> bytes:
    """Returns the content digests of the refs whose bytes were spilled; b"" if none were.

    Spilled files are of one run, so a later one knows by these alone that a shard is the same.
    """
    marks = []
    spilled = workspace.encode("utf-8", "surrogatepass")
    for packed in refs:
        if spilled not in packed.body:  # as of all that a command line reads
            continue
        ref = unpack_ref(packed)
        if any(one.uri.startswith(f"{workspace}/") for one in (ref.image, *ref.fields)):
            marks.append(packed.order[-MARK - TWIN : -TWIN])
    return b"".join(marks)
