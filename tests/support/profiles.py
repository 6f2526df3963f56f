"""ICC profiles, made by hand."""

from __future__ import annotations

import struct

from PIL import ImageCms


def rgb_profile(swapped: bool = False, gamma: float | None = None) -> bytes:
    """Returns an sRGB profile: as it is, with red and blue swapped, or with a pure gamma."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    if swapped:
        a, b = tags[b"rXYZ"] + 4, tags[b"bXYZ"] + 4
        data[a : a + 8], data[b : b + 8] = data[b : b + 8], data[a : a + 8]
    if gamma is not None:
        for name in (b"rTRC", b"gTRC", b"bTRC"):
            at = int.from_bytes(data[tags[name] + 4 : tags[name] + 8], "big")
            data[at : at + 14] = (
                b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big")
            )
    return bytes(data)


def gray_profile(gamma: float) -> bytes:
    """Returns a gray profile with a pure gamma (ICC.1:2022, 8.3.4), made by hand."""
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63_190, 65_536, 54_061)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    desc = b"desc" + bytes(4) + struct.pack(">I", 5) + b"gray\0" + bytes(4 + 4 + 2 + 1 + 67)
    desc += bytes(-len(desc) % 4)
    at = 128 + 4 + 3 * 12
    table, body = b"", b""
    for name, content in ((b"desc", desc), (b"wtpt", white), (b"kTRC", curve)):
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    head = bytearray(128)
    head[8:12] = b"\x02\x40\0\0"
    head[12:24] = b"mntrGRAYXYZ "
    head[36:40] = b"acsp"
    head[68:80] = struct.pack(">iii", 63_190, 65_536, 54_061)
    data = bytes(head) + struct.pack(">I", 3) + table + body
    return struct.pack(">I", len(data)) + data[4:]
