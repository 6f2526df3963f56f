"""Options on images: what is copied and what is encoded, and how."""

from __future__ import annotations

import dataclasses
from typing import Literal

from beam_export.declaration import Option, option
from beam_export.images.encoder import EncodeSpec
from beam_export.images.uniform import ensured

__all__ = ["ImageOptions"]

#: The heading of `--help`.
IMAGES = "images"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What becomes of the pixels."""

    encode: Literal["auto", "always", "never"] = option(
        "auto",
        Option(
            "auto copies a JPEG that needs no change and makes JPEG of all else; always encodes "
            "all; never copies all",
            IMAGES,
            shapes="always",
        ),
    )
    # The encoder that it resolves to is part of each shard's plan instead.
    encoder: Literal["auto", "pillow", "dali"] = option(
        "auto",
        Option(
            "what encodes; auto is DALI where it has a GPU, and else Pillow", IMAGES, shapes="never"
        ),
    )
    device: Literal["auto", "cpu", "gpu"] = option(
        "auto",
        Option("where DALI works; auto is the GPU where there is one", IMAGES, shapes="never"),
    )
    quality: int = option(
        92,
        Option(
            "of JPEGs that are encoded, 1 to 100",
            IMAGES,
            shapes="always",
            at_least=1,
            at_most=100,
        ),
    )
    subsampling: Literal["420", "422", "444"] = option(
        "420", Option("chroma subsampling of JPEGs that are encoded", IMAGES, shapes="always")
    )
    ensure: str | None = option(
        None,
        Option(
            "upright, srgb, rgb, any of them: images that are not so are encoded so that they are",
            IMAGES,
            shapes="unless_default",
            several=True,
        ),
    )
    resize: int | None = option(
        None, Option("target in pixels", IMAGES, shapes="always", at_least=1)
    )
    resize_mode: Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"] = (
        option(
            "keep_ratio",
            Option("what --resize sets, and what becomes of the rest", IMAGES, shapes="always"),
        )
    )
    damaged: Literal["fail", "keep"] = option(
        "fail",
        Option(
            "JPEGs that decode with loss of data: fail, or keep them as far as they decode",
            IMAGES,
            shapes="unless_default",
        ),
    )
    max_pixels: int = option(
        250_000_000,
        Option("larger images are failures", IMAGES, shapes="always", at_least=1),
    )
    max_image_bytes: int = option(
        268_435_456,
        Option("larger files are failures", IMAGES, shapes="always", at_least=1),
    )

    def spec(self) -> EncodeSpec:
        """Returns the options that encoders need."""
        return EncodeSpec(
            mode=self.encode,
            quality=self.quality,
            subsampling=self.subsampling,
            resize=self.resize,
            resize_mode=self.resize_mode,
            max_pixels=self.max_pixels,
            max_image_bytes=self.max_image_bytes,
            damaged=self.damaged,
            ensure=ensured(self.ensure),
        )
