"""Names the codecs of formats that few images have, by a remark on each image that needs them.

Codecs of the usual formats stand in the encoder's identity, and with it in the plan of every shard.
These do not: what holds no such image keeps its bytes and its plan whichever version is installed,
or none. A shard that holds one is written again where another version is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from PIL import features

from beam_export.images.heif import heif_versions

__all__ = ["are_other", "codec_remarks", "installed", "is_codec", "stated"]

_MARK = "codec/"
_VERSIONS: Mapping[str, Callable[[], str | None]] = {
    "heif": heif_versions,
    "openjpeg": lambda: features.version("jpg_2000"),
}
#: By Pillow's names of the formats.
_CODECS = {"HEIF": "heif", "JPEG2000": "openjpeg"}


def codec_remarks(format_name: str | None) -> tuple[str, ...]:
    """Returns the remark on an image of a format, by Pillow's name of it; none for a usual one."""
    codec = _CODECS.get(format_name or "")
    return () if codec is None else (f"{_MARK}{codec}={_VERSIONS[codec]()}",)


def is_codec(remark: str) -> bool:
    """Returns whether a remark names a codec, and is nothing to be counted.

    >>> is_codec("codec/openjpeg=2.5.4"), is_codec("damaged")
    (True, False)
    """
    return remark.startswith(_MARK)


def stated(remarks: Iterable[str]) -> dict[str, str]:
    """Returns the codecs that remarks name, with their versions.

    >>> stated(["codec/openjpeg=2.5.4", "damaged", "codec/openjpeg=2.5.3"])
    {'openjpeg': '2.5.3; 2.5.4'}
    """
    found: dict[str, list[str]] = {}
    for remark in sorted(set(filter(is_codec, remarks))):
        codec, _, version = remark.removeprefix(_MARK).partition("=")
        found.setdefault(codec, []).append(version)
    return {codec: "; ".join(versions) for codec, versions in found.items()}


def installed(names: Iterable[str]) -> dict[str, str]:
    """Returns the versions that are installed here of those names that are codecs of this kind.

    >>> installed(["pillow"])
    {}
    """
    return {name: _VERSIONS[name]() or "none" for name in names if name in _VERSIONS}


def are_other(remarks: Iterable[str]) -> bool:
    """Returns whether remarks name a codec of which another version, or none, is installed here."""
    found = stated(remarks)
    return found != installed(found)
