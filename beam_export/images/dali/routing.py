"""Decides which images DALI encodes, and how; Pillow encodes all others.

Decided by the file alone and alike on every device, so that the choice of encoder, and with it the
bytes, are reproducible. DALI gets the kinds that it decodes to the same pixels as Pillow
(nvImageCodec 0.9 on a CPU): gray and YCbCr JPEG, WebP, and PNG. Pillow keeps

* what DALI does not read: GIF, AVIF;
* TIFF, BMP, and PNG of 16-bit gray or of gray with alpha: all are decoded on the host anyway, and
  DALI's pixels differ by rounding or lose the alpha;
* JPEG in CMYK, YCCK or RGB: nvJPEG's conversion may differ from libjpeg's;
* images with a colour profile that is not sRGB: DALI has no operator for profiles;
* on a GPU, images so small that it gains nothing, and so large that few fit into its memory;
* gray that is to become RGB (`--ensure=rgb`): its JPEG is Pillow's then on every device;
* damaged files, and those over a limit: Pillow's encoder words all failures.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin

from beam_export.images import color, header, source_color
from beam_export.images.dali.device_share import LARGEST
from beam_export.images.encoder import EncodeSpec, ImageInput, array_fault, array_shape, is_array
from beam_export.images.geometry import ResizePlan, exif_block, plan_resize, read_orientation
from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.jpeg.loss import lost_data
from beam_export.images.jpeg.segments import MAX_SCANS, has_scans
from beam_export.images.uniform import RGB

__all__ = ["DaliImage", "route"]

#: Side below which a GPU gains nothing; a unit of subsampled JPEG is 16 x 16 pixels.
_TINY = 16

_PNG_GRAY, _PNG_RGB, _PNG_PALETTE, _PNG_RGBA = 0, 2, 3, 6


class DaliImage(NamedTuple):
    """An image for DALI, and what is to be done with it.

    Attributes:
        data: encoded bytes, or an array of shape (H, W) or (H, W, C).
        ext: `jpg`, `png` or `webp`; `""` for an array.
        width, height: pixels as stored.
        channels: 1, 3, or 4 with alpha, to be decoded to.
        orientation: EXIF's, 1 to 8.
        plan: how the upright image is resized; None if it is not.
    """

    data: Any
    ext: str
    width: int
    height: int
    channels: int
    orientation: int = 1
    plan: ResizePlan | None = None

    @property
    def turned(self) -> bool:
        """Whether width and height are swapped."""
        return self.orientation >= 5

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the result."""
        if self.plan is not None:
            return self.plan.width, self.plan.height
        return (self.height, self.width) if self.turned else (self.width, self.height)

    @property
    def is_plain(self) -> bool:
        """Whether the decoded pixels are encoded unchanged."""
        return self.channels != 4 and self.orientation == 1 and self.plan is None

    @property
    def pixels(self) -> int:
        """Pixels that it holds at the same time."""
        scaled = self.plan.scaled_width * self.plan.scaled_height if self.plan else 0
        return self.width * self.height + scaled


def route(image: ImageInput, spec: EncodeSpec, on_gpu: bool) -> DaliImage | str:
    """Returns the job for DALI, or the reason why Pillow encodes the image, in one word."""
    try:
        job = _of_bytes(image, spec) if isinstance(image, bytes) else _of_array(image)
        if isinstance(job, str):
            return job
        header.check_pixels(job.width * job.height, spec)
        return _planned(job, spec, on_gpu)
    except MemoryError:
        raise
    except Exception:
        # Pillow's readers raise anything for a broken header. Its encoder says what is wrong.
        return "unread"


def _of_bytes(data: bytes, spec: EncodeSpec) -> DaliImage | str:
    header.check_bytes(data, spec)
    kind = header.sniff(data)
    if kind == "jpg":
        return _of_jpeg(data)
    if kind not in ("png", "webp"):
        return "format"
    with header.open_image(data, spec) as im:
        channels = _png_channels(data, im) if kind == "png" else _webp_channels(im)
        if not channels:
            return "kind"
        return _with_metadata(DaliImage(data, kind, *im.size, channels), im)


def _of_jpeg(data: bytes) -> DaliImage | str:
    facts = jpeg.inspect_head(data)
    # Counted where a decoder reads on after the first scan: it takes as long as all else here.
    if facts is None or (has_scans(data) and data.count(b"\xff\xda") > MAX_SCANS):
        return "unread"
    if not jpeg.is_copyable(facts) or facts.process == "extended":
        return "kind"
    if lost_data(data) is not None:
        return "damaged"
    # Opened for its metadata alone; the file was checked above.
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as im:
        job = DaliImage(
            data=data, ext="jpg", width=facts.width, height=facts.height, channels=facts.components
        )
        return _with_metadata(job, im)


def _with_metadata(job: DaliImage, im: Image.Image) -> DaliImage | str:
    colors = source_color.read_colors(im, job.data)
    mode = "L" if job.channels == 1 else "RGB"
    if colors.is_other or not color.changes_nothing(mode, colors.profile):
        return "profile"
    return job._replace(orientation=read_orientation(exif_block(im)))


def _png_channels(data: bytes, im: Image.Image) -> int:
    """Returns the channels to decode a PNG to; 0 if DALI does not take it.

    Source: PNG, third edition, 11.2.1 (colour types and depths).
    """
    depth, kind = data[24:26]
    has_key = "transparency" in im.info
    if "exif" not in im.info and (b"eXIf" in data or b"Raw profile type" in data):
        # After the pixels, where only a decoder reads it.
        return 0
    if kind == _PNG_GRAY and depth <= 8 and not has_key:
        return 1
    if kind == _PNG_PALETTE or (kind == _PNG_RGB and depth == 8):
        return 4 if has_key else 3
    if kind == _PNG_RGB and not has_key:
        return 3
    return 4 if kind == _PNG_RGBA and depth == 8 else 0


def _webp_channels(im: Image.Image) -> int:
    """Returns the channels to decode a WebP to; 0 for an animation, which Pillow composes."""
    if getattr(im, "is_animated", False):
        return 0
    return {"RGB": 3, "RGBA": 4}.get(im.mode, 0)


def _of_array(pixels: object) -> DaliImage | str:
    if not is_array(pixels) or array_fault(pixels) is not None:
        return "unread"
    height, width, channels = (*array_shape(pixels), 1)[:3]
    if isinstance(pixels, np.ndarray):
        pixels = np.ascontiguousarray(pixels).reshape(height, width, channels)
    return DaliImage(data=pixels, ext="", width=width, height=height, channels=channels)


def _planned(job: DaliImage, spec: EncodeSpec, on_gpu: bool) -> DaliImage | str:
    """Returns the job with its plan; why Pillow takes it, if DALI does not."""
    if job.channels == 1 and RGB in spec.ensure:
        return "gray"
    if spec.resizes and spec.resize is not None:
        plan = plan_resize(*job.size, spec.resize, spec.resize_mode)
        if plan != (*job.size, 0, 0, *job.size):
            job = job._replace(plan=plan)
    sides = [job.width, job.height, *job.size]
    if job.plan is not None:
        sides += job.plan[:2]
        header.check_pixels(job.plan.scaled_width * job.plan.scaled_height, spec)
    if max(sides) > jpeg.MAX_SIDE:
        return "size"
    if on_gpu and (min(sides) < _TINY or job.pixels > LARGEST):
        return "size"
    return job
