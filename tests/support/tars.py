"""Tars as the exporter writes them."""

from __future__ import annotations

import io

from beam_export.shards.tar import TarWriter


def make_tar(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    writer = TarWriter(file)
    for name, data in members:
        writer.add(name, data)
    writer.close()
    return file.getvalue()
