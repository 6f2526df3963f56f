"""What a user may ask for, checked once, when it is made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from beam_export.errors import InputError
from beam_export.images.encoder import EncodeSpec
from beam_export.metadata.filter import needs_probe, needs_size

__all__ = ["CHOICES", "SHAPING", "SHAPING_IF_GIVEN", "ExportOptions"]

#: The words that an option may be, by option.
CHOICES: dict[str, tuple[str, ...]] = {
    "input_format": ("auto", "files", "webdataset", "parquet", "table"),
    "member_names": ("id", "sequential"),
    "order": ("source", "shuffled"),
    "encode": ("auto", "always", "never"),
    "encoder": ("auto", "pillow", "dali"),
    "device": ("auto", "cpu", "gpu"),
    "subsampling": ("420", "422", "444"),
    "resize_mode": ("no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"),
    "duplicates": ("error", "first", "rename"),
    "probe": ("off", "header", "full"),
    "damaged": ("fail", "keep"),
}

#: Options that shape the output: these, and no others, go into the hash and the manifest.
SHAPING = (
    "images_per_tar",
    "max_tar_bytes",
    "member_names",
    "order",
    "seed",
    "encode",
    "quality",
    "subsampling",
    "resize",
    "resize_mode",
    "limit",
    "duplicates",
    "filter",
    "caption_column",
    "max_pixels",
    "max_image_bytes",
)

#: Those of a later edition of the contract: they go there where they are not at their default, so
#: that exports of an earlier one keep their names and bytes.
SHAPING_IF_GIVEN = ("damaged",)

_TEXTS = ("metadata", "metadata_key", "ids", "exclude_ids", "caption_column")

_BOOLEANS = ("deterministic_name", "allow_broken_sources", "resume", "clean", "verbose")

_AT_LEAST = {
    "images_per_tar": 1,
    "max_tar_bytes": 1,
    "quality": 1,
    "resize": 1,
    "limit": 1,
    "max_pixels": 1,
    "max_image_bytes": 1,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of an export; names, defaults and meanings are those of the flags.

    Raises:
        InputError: if a value makes no sense, in one sentence.
    """

    output_dir: str
    input_format: str = "auto"
    images_per_tar: int = 1000
    max_tar_bytes: int | None = None
    deterministic_name: bool = True
    member_names: str = "id"
    order: str = "source"
    seed: int = 0
    encode: str = "auto"
    encoder: str = "auto"
    device: str = "auto"
    quality: int = 92
    subsampling: str = "420"
    resize: int | None = None
    resize_mode: str = "keep_ratio"
    limit: int | None = None
    duplicates: str = "error"
    metadata: str | None = None
    metadata_key: str = "image_id"
    filter: str | None = None
    ids: str | None = None
    exclude_ids: str | None = None
    caption_column: str | None = None
    probe: str = "off"
    max_failed_fraction: float = 0.01
    allow_broken_sources: bool = False
    damaged: str = "fail"
    max_pixels: int = 250_000_000
    max_image_bytes: int = 268_435_456
    resume: bool = True
    clean: bool = False
    gpu: str | None = None
    verbose: bool = False

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            _check_choice(name, getattr(self, name), words)
        for name, least in _AT_LEAST.items():
            _check_at_least(name, getattr(self, name), least)
        for name in _BOOLEANS:
            _check_boolean(name, getattr(self, name))
        if not isinstance(self.output_dir, str) or not self.output_dir.strip():
            raise InputError(
                f"--output_dir={self.output_dir!r} is no path: give a directory or "
                "gs://bucket/prefix, as text."
            )
        if type(self.seed) is not int:
            raise InputError(f"--seed={self.seed!r} is not a whole number: give one, 0 or 42 say.")
        if not _is_fraction(self.max_failed_fraction):
            raise InputError(
                f"--max_failed_fraction={self.max_failed_fraction!r} is not a number between 0 and "
                "1: give the share of images that may fail, 0.01 for one in a hundred."
            )
        if self.quality > 100:
            raise InputError(f"--quality={self.quality} is above 100: give 1 to 100.")
        self._check_gpu()
        for name in _TEXTS:
            _check_text(name, getattr(self, name))
        if self.filter is not None and needs_probe(self.filter) and self.probe == "off":
            object.__setattr__(self, "probe", "header")
        if self.encode == "never" and self.resize is not None:
            raise InputError(
                f"--encode=never with --resize={self.resize} contradict each other, since a "
                "resized image must be encoded: drop one of the two."
            )

    def _check_gpu(self) -> None:
        """Refuses GPUs that nothing would use."""
        if self.gpu is None:
            return
        if not isinstance(self.gpu, str) or not self.gpu:
            raise InputError(
                f"--gpu={self.gpu!r} is no accelerator type: give one such as nvidia-l4."
            )
        idle = [("encoder", "pillow"), ("device", "cpu"), ("encode", "never")]
        for name, word in idle:
            if getattr(self, name) == word:
                raise InputError(
                    f"--gpu={self.gpu} with --{name}={word} contradict each other, since nothing "
                    "would use the GPUs: drop one of the two."
                )

    @property
    def lookups(self) -> dict[str, str]:
        """The files that samples are looked up in, by the option that names each."""
        named = {name: getattr(self, name) for name in ("metadata", "ids", "exclude_ids")}
        return {name: path for name, path in named.items() if path is not None}

    @property
    def selects(self) -> bool:
        """Whether a sample may be left out for what it is or is called."""
        return self.filter is not None or self.ids is not None or self.exclude_ids is not None

    @property
    def asks_sizes(self) -> bool:
        """Whether the bytes of images are asked for before samples are left out."""
        return self.probe != "off" or (self.filter is not None and needs_size(self.filter))

    def spec(self) -> EncodeSpec:
        """Returns the part that an encoder has to know."""
        return EncodeSpec(
            mode=self.encode,
            quality=self.quality,
            subsampling=self.subsampling,
            resize=self.resize,
            resize_mode=self.resize_mode,
            max_pixels=self.max_pixels,
            max_image_bytes=self.max_image_bytes,
            damaged=self.damaged,
        )

    def shaping(self) -> dict[str, Any]:
        """Returns the options that shape the output, by name."""
        fields = self.__dataclass_fields__
        given = [name for name in SHAPING_IF_GIVEN if getattr(self, name) != fields[name].default]
        return {name: getattr(self, name) for name in (*SHAPING, *given)}

    def digest(self) -> bytes:
        """Returns 32 bytes that change with any option that shapes the output."""
        text = json.dumps(self.shaping(), sort_keys=True)
        return hashlib.sha256(text.encode()).digest()


def _check_choice(name: str, given: Any, words: tuple[str, ...]) -> None:
    if given not in words:
        choices = ", ".join(map(repr, words))
        raise InputError(f"--{name}={given!r} is not a choice: give one of {choices}.")


def _check_text(name: str, given: Any) -> None:
    if given is not None and (not isinstance(given, str) or not given.strip()):
        raise InputError(f"--{name}={given!r} names nothing: give a name, or leave it out.")


def _check_boolean(name: str, given: Any) -> None:
    # Not whatever is true or false: the text "false" is true.
    if not isinstance(given, bool):
        raise InputError(f"--{name}={given!r} is neither True nor False: give one of the two.")


def _is_fraction(given: Any) -> bool:
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    return number and 0 <= given <= 1


def _check_at_least(name: str, given: Any, least: int) -> None:
    if given is None and name in ("max_tar_bytes", "resize", "limit"):
        return
    if type(given) is not int or given < least:
        raise InputError(
            f"--{name}={given!r} is not a whole number of at least {least}: give such a number."
        )
