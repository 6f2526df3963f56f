"""docs/inputs.md, image formats: each row of its table is held against the code."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, features
from support.exports import ROOT
from support.listings import listed, make
from support.pictures import failed, png, save, smooth

from beam_export.images import heif
from beam_export.images.codecs import stated
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.transcode import transcode_batch, without_encoding
from beam_export.samples import EncodedImage
from beam_export.sources.entries import Listed

PAGE = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
PART = PAGE.split("\n## Image formats\n")[1].split("\n## ")[0]
ROWS = [line.strip("|").split(" | ")[0].strip() for line in PART.splitlines() if line[:2] == "| "]
RGB = Image.fromarray(smooth())


def exported(data: bytes) -> EncodedImage:
    (result,) = transcode_batch([data], [""], PillowEncoder(EncodeSpec()))
    assert isinstance(result, EncodedImage), result
    assert result.ext == "jpg"
    return result


def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(RGB, "JPEG")
    assert exported(data).data == data


def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ["PNG", "WEBP", "BMP", "GIF", "TIFF", *(["AVIF"] if features.check("avif") else [])]
    for kind in kinds:
        assert exported(save(RGB, kind)).encoding == "encoded"


def netpbm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("1", "L", "I;16", "RGB"):
        im = RGB.convert("L").convert("I").convert("I;16") if mode == "I;16" else RGB.convert(mode)
        exported(save(im, "PPM"))
    exported(b"P6 1 1 1023\n" + b"\3\xff" * 3)


def jpeg_2000(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bare in (False, True):
        assert stated(exported(save(RGB, "JPEG2000", no_jp2=bare)).remarks)["openjpeg"]


def heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    library.from_pillow(RGB).save(buffer)
    made = exported(buffer.getvalue())
    assert (made.width, made.height) == RGB.size
    assert "libheif" in stated(made.remarks)["heif"]


def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "_library", lambda: None)
    assert "beam_export[heif]" in failed(b"\0\0\0\x18ftypheic" + bytes(40)).message


def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "x.jpg", "x.heic", "x.jp2", "x.pgm")
    (one,) = (one for one in listed(tmp_path) if isinstance(one, Listed))
    assert [field.ext for field in one.fields] == ["heic", "jp2", "pgm"]


def other_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(RGB, "JPEG2000")
    at = data.index(b"colr") + 7
    lab = data[:at] + struct.pack(">I", 14) + data[at + 4 :]
    assert "colour space 14" in failed(lab).message


def no_palette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no palette" in failed(png(8, 3, [b"\0"], 1)).message


def of_every_format() -> list[bytes]:
    kinds = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "PPM"]
    return [save(RGB, kind) for kind in kinds]


def cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for data in of_every_format():
        message = failed(data[: len(data) // 2]).message
        assert "ends before it should" in message or "lost data" in message


def without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, most in (("PNG", 20), ("GIF", 1)):
        whole = save(RGB, kind)
        for missing in range(1, most + 1):
            assert exported(whole[:-missing]).data == exported(whole).data


def first_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("GIF", "PNG"):
        buffer = io.BytesIO()
        RGB.save(buffer, kind, save_all=True, append_images=[RGB.rotate(180)])
        whole = buffer.getvalue()
        assert exported(whole[:-60]).data == exported(whole).data


def jpeg_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "lost data" in failed(save(RGB, "JPEG")[:-2]).message


def as_they_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for data in of_every_format():
        found = without_encoding(data[:-30], "x", EncodeSpec(mode="never"))
        assert isinstance(found, EncodedImage)
        assert found.data == data[:-30]


def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(save(RGB, "PNG"))
    data[45:60] = bytes(15)
    assert failed(bytes(data)).message.startswith("the PNG cannot be decoded: it is damaged, or ")


CHECKS: dict[str, Callable[[Path, Any], None]] = {
    "image": lambda folder, patch: None,
    "a JPEG that needs no change": copied,
    "PNG, WebP, BMP, AVIF, the first frame of a GIF or TIFF": usual,
    "PPM, PGM, PBM, of any depth": netpbm,
    "JPEG 2000 (`.jp2`, `.j2k`)": jpeg_2000,
    "HEIC or HEIF, with the extra": heic,
    "HEIC or HEIF, without the extra": without,
    "`x.heic`, `x.jp2` or `x.pgm` beside `x.jpg`": beside,
    r"JPEG 2000 in CIE L\*a\*b\* or another colour space that is not read": other_space,
    "a palette PNG without a palette": no_palette,
    "one of any format that is cut short": cut_short,
    "a PNG without its last 20 bytes, or fewer; a GIF without its last one": without_end,
    "a GIF or an animated PNG that is cut behind its first frame": first_frame,
    "a JPEG without its end mark": jpeg_without_end,
    "anything under `--encode=never`": as_they_came,
    "one of any format that is damaged otherwise": damaged,
}


def test_every_row_of_the_part_has_its_check_and_no_other() -> None:
    assert list(CHECKS) == ROWS


@pytest.mark.parametrize("row", CHECKS)
def test_a_row_of_the_part_is_so(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CHECKS[row](tmp_path, monkeypatch)
