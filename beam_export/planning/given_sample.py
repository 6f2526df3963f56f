"""Checks a `Sample` of a user's pipeline, and makes plain bytes, text and pixels of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from beam_export.errors import SampleError
from beam_export.images import color, header
from beam_export.images.encoder import EncodeSpec, is_array
from beam_export.images.geometry import exif_block, read_orientation, upright
from beam_export.metadata import canonical
from beam_export.naming import clean_ext
from beam_export.samples import Sample

__all__ = ["taken"]


def taken(sample: Sample, spec: EncodeSpec) -> Sample:
    """Returns a sample whose path is text, whose fields are bytes, whose image is bytes or array.

    Args:
        sample: as it was handed over.
        spec: limits of its image.

    Raises:
        SampleError: if it is none that can be exported; the message says what is wrong with it.
    """
    path = os.fspath(sample.path) if isinstance(sample.path, os.PathLike) else sample.path
    for name, value, kind in [
        ("id", sample.id, str),
        ("path", path, str),
        ("metadata", sample.metadata, Mapping),
        ("fields", sample.fields, Mapping),
    ]:
        if not isinstance(value, kind):
            reason = f"its {name} is of type {type(value).__name__}, not {kind.__name__}"
            raise SampleError("read", "TypeError", reason)
    if not sample.id:
        reason = "its id is empty: give each sample a name of its own"
        raise SampleError("read", "ValueError", reason)
    if sample.image is None and not path:
        raise SampleError("read", "ValueError", "it has neither an image nor a path")
    fields = {ext: _field(ext, value) for ext, value in sample.fields.items()}
    _check_metadata(sample.metadata)
    image: Any = sample.image
    if isinstance(image, Image.Image):
        image = pixels_of(image, spec)
    elif not (image is None or isinstance(image, bytes) or is_array(image)):
        given = type(image).__name__
        reason = (
            f"its image is of type {given}: give encoded bytes, an image of Pillow's or a uint8 "
            "array, or None and a path to read it from"
        )
        raise SampleError("read", "TypeError", reason)
    return dataclasses.replace(sample, path=path, fields=fields, image=image)


def _field(ext: object, value: object) -> bytes:
    """Returns the bytes of a member: text as UTF-8, a dict as JSON with its keys as they come."""
    if not isinstance(ext, str) or clean_ext(ext) != ext:
        reason = f"its field {ext!r} cannot be an extension in a tar: use lower-case letters"
        raise SampleError("read", "ValueError", reason)
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict):
            return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        kind = "JSON" if isinstance(value, dict) else "UTF-8"
        reason = f"its field {ext!r} cannot be written as {kind}: {error}"
        raise SampleError("read", type(error).__name__, reason) from error
    if not isinstance(value, bytes):
        given = type(value).__name__
        reason = f"its field {ext!r} is of type {given}: give bytes, text or a dict"
        raise SampleError("read", "TypeError", reason)
    return value


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    odd = next((name for name in metadata if not isinstance(name, str)), "")
    if not isinstance(odd, str):
        given = type(odd).__name__
        reason = f"its metadata has a column whose name is of type {given}, {odd!r}: make it text"
        raise SampleError("read", "TypeError", reason)
    try:
        canonical.encode(metadata)
    except TypeError as error:
        # Looked for only now, as hardly any sample has one.
        for name, value in metadata.items():
            _check_value(name, value)
        raise SampleError("read", "TypeError", f"its metadata cannot be stored: {error}") from error


def _check_value(name: object, value: object) -> None:
    try:
        canonical.encode({name: value})
    except TypeError as error:
        # Names of several types in one mapping cannot be sorted.
        mixed = "not supported between" in str(error)
        what = "a mapping whose keys are not all text" if mixed else str(error)
        reason = f"its metadata column {name!r} cannot be stored: {what}"
        raise SampleError("read", "TypeError", reason) from error


def pixels_of(im: Image.Image, spec: EncodeSpec) -> np.ndarray:
    """Returns an image of Pillow's as a uint8 array: upright, gray or sRGB, alpha on white.

    Raises:
        SampleError: if it has too many pixels, or cannot be decoded or converted.
        MemoryError: if it does not fit into memory.
    """
    header.check_pixels(im.width * im.height, spec, "encode")
    try:
        # A copy: loaded, of no file and of no format, and nothing of the user's is changed.
        copy = im.copy()
        orientation = read_orientation(exif_block(copy))
        colors, alpha = color.split_alpha(copy, color.facts_of(copy, b""))
        converted, kept = color.to_srgb(colors, copy.info.get("icc_profile"))
        if kept is not None:
            raise ValueError("its colour profile cannot be applied: convert it to sRGB first")
        return np.asarray(upright(color.on_white(converted, alpha), orientation))
    except MemoryError:
        raise
    except Exception as error:
        raise header.failure("decode", error) from error
