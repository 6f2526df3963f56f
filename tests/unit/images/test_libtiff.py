"""Nothing but this tool writes to the terminal, whatever is wrong with a TIFF."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from support.pictures import failed, smooth

from beam_export.images.libtiff import silence_libtiff


def damaged(marker: bytes, byte: int) -> bytes:
    """Returns a TIFF with JPEG compression of which a marker is another."""
    target = io.BytesIO()
    Image.fromarray(smooth()).save(target, "TIFF", compression="jpeg")
    data = bytearray(target.getvalue())
    data[data.find(marker) + 1] = byte
    return bytes(data)


@pytest.mark.parametrize("data", [damaged(b"\xff\xdb", 0xFE), damaged(b"\xff\xc0", 0xC3)])
def test_a_damaged_tiff_of_jpeg_fails_in_plain_words_and_writes_nothing(
    data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    error = failed(data)
    assert error.error == "UndecodableImage"
    assert error.message.endswith("(its compressed data is damaged)")
    if silence_libtiff():
        assert capfd.readouterr().err == ""
