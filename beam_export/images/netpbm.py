"""Decodes the samples of a binary PGM or PPM of an unusual depth, many at a time.

Pillow does it in Python, sample by sample, and takes minutes for what a camera makes. The values
are the same.

Source: Netpbm's pages `pgm` and `ppm`; Pillow 12, PpmImagePlugin.PpmDecoder.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFile

__all__ = ["use_quick_decoder"]

_PILLOWS, _OURS = "ppm", "beam_export_netpbm"


class _Decoder(ImageFile.PyDecoder):
    _pulls_fd = True

    def decode(self, buffer: object) -> tuple[int, int]:
        """Scales each sample by the largest that the header declares; reads all there are."""
        assert self.fd is not None
        most = int(self.args[-1])
        kind = np.dtype("u1" if most < 256 else ">u2")
        count = self.state.xsize * self.state.ysize * Image.getmodebands(self.mode)
        data = self.fd.read(count * kind.itemsize)
        data = data[: len(data) // kind.itemsize * kind.itemsize]
        values = np.arange(np.iinfo(kind).max + 1)
        full, wide = (65_535, "<i4") if self.mode == "I" else (255, "u1")
        # Half to even, as Python rounds.
        table = np.minimum(full, np.rint(values / most * full)).astype(wide)
        pixels = table[np.frombuffer(data, kind)].tobytes()
        self.set_as_raw(pixels, "I;32" if self.mode == "I" else self.mode)
        return -1, 0


def use_quick_decoder(im: ImageFile.ImageFile) -> None:
    """Has an opened image decoded here, if Pillow would do so sample by sample."""
    if any(tile.codec_name == _PILLOWS for tile in im.tile):
        Image.register_decoder(_OURS, _Decoder)
        im.tile = [tile._replace(codec_name=_OURS) for tile in im.tile]
