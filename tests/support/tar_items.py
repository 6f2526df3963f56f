"""What is read from a tar in memory: its items, and its refs."""

from __future__ import annotations

import io

from support.foreign_tars import END, unended_tar

from beam_export.samples import Member
from beam_export.sources.tar.exports import ExportTable
from beam_export.sources.tar.refs import RefOutcome, tar_refs
from beam_export.sources.tar.walk import (
    StreamedMember,
    TarFault,
    TarMember,
    TarNote,
    TarOther,
    stream_members,
    walk_members,
)

Item = TarMember | TarOther | TarNote | TarFault
#: An archive of three members, with its end.
WHOLE = (
    unended_tar([("a.jpg", 700 * b"1"), ("b.json", b"{}"), ("c.jpg", 300 * b"3")], "pax", 1.5) + END
)
URI = "dir/x.tar"


def items_of(data: bytes) -> list[Item]:
    """Walks a tar, and reads it as a stream as well, which has to say the same."""
    walked = list(walk_members(io.BytesIO(data), len(data)))
    assert list(walk_members(io.BytesIO(data))) == walked
    streamed: list[Item] = []
    for item in stream_members(io.BytesIO(data), 1 << 30):
        if isinstance(item, StreamedMember):
            member, content = item
            assert content == data[member.offset : member.offset + member.size]
            streamed.append(member)
        else:
            streamed.append(item)
    assert streamed == walked
    return walked


def refs_of(tar: bytes, beside: ExportTable | None = None) -> list[RefOutcome]:
    """Returns the refs of a tar, which is taken to stand at `URI`."""

    def read(member: Member) -> bytes:
        assert member.uri == URI
        return tar[member.offset : member.offset + member.size]

    return list(tar_refs(walk_members(io.BytesIO(tar)), URI, read, beside))
