"""`beam_export.images.dali.libraries`: NVIDIA's own and those that are made up answer alike.

What is checked here on NVIDIA's, on a CPU, is what the tests on a GPU that is made up rely on.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.devices import need_dali
from support.fake_gpu.device import FakeDevice
from support.fake_gpu.machine import libraries
from support.pictures import exif, save, smooth

from beam_export.images.dali.engine import DaliEngine
from beam_export.images.dali.graph import Kind, pipe_arguments
from beam_export.images.dali.libraries import Libraries, load_libraries
from beam_export.images.dali.routing import DaliImage, route
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder

ALWAYS = EncodeSpec(mode="always")
RGB = Image.fromarray(smooth())
RGBA = Image.merge("RGBA", [*RGB.split(), RGB.getchannel(0)])


@pytest.fixture(name="found", params=["NVIDIA's", "made up"])
def _found(request: pytest.FixtureRequest) -> Libraries:
    if request.param == "made up":
        device = FakeDevice(1 << 30)
        device.signs = False
        return libraries(device)
    need_dali()
    return load_libraries(None)


@pytest.fixture(name="engine")
def _engine(found: Libraries) -> Callable[[EncodeSpec], DaliEngine]:
    return lambda spec: DaliEngine(spec, found, threads=1, most=8, most_pixels=1_000_000)


def jobs_of(images: list[Any], spec: EncodeSpec) -> list[DaliImage]:
    jobs = [route(image, spec, False) for image in images]
    assert all(isinstance(job, DaliImage) for job in jobs), jobs
    return jobs  # type: ignore[return-value]


IMAGES: dict[str, Any] = {
    "jpeg": save(RGB, "JPEG"),
    "gray jpeg": save(RGB.convert("L"), "JPEG"),
    "turned": save(RGB, "JPEG", exif=exif(6)),
    "mirrored": save(RGB, "JPEG", exif=exif(2)),
    "png": save(RGB, "PNG"),
    "gray png": save(RGB.convert("L"), "PNG"),
    "alpha": save(RGBA, "PNG"),
    "webp": save(RGBA, "WEBP", lossless=True),
    "array": smooth(),
    "gray array": smooth()[..., 0].copy(),
}


def test_images_come_back_in_their_places_with_pillows_bytes(
    engine: Callable[[EncodeSpec], DaliEngine],
) -> None:
    images = list(IMAGES.values())
    wanted = [result.data for result in PillowEncoder(ALWAYS).encode_batch(images)]  # type: ignore[union-attr]
    made = engine(ALWAYS)
    for chosen in (slice(None, 8), slice(8, None), slice(None, None, -2)):
        assert made.encode(jobs_of(images[chosen], ALWAYS)) == wanted[chosen]


def test_a_file_that_cannot_be_decoded_is_none_in_its_place(
    engine: Callable[[EncodeSpec], DaliEngine],
) -> None:
    good = jobs_of([IMAGES["png"], IMAGES["jpeg"]], ALWAYS)
    bad = good[0]._replace(data=IMAGES["png"][:90])
    larger = good[0]._replace(width=49)
    made = engine(ALWAYS)
    one, two, three, four = made.encode([good[0], bad, larger, good[1]])
    assert (two, three) == (None, None)
    assert [one, four] == made.encode(good)


@pytest.mark.parametrize("mode", ["keep_ratio", "center_crop", "border"])
def test_resized_images_have_the_size_and_nearly_the_pixels_of_pillows(
    engine: Callable[[EncodeSpec], DaliEngine], mode: str
) -> None:
    spec = EncodeSpec(mode="always", resize=24, resize_mode=mode, quality=95)
    images = [IMAGES["jpeg"], IMAGES["turned"], IMAGES["alpha"], IMAGES["gray png"]]
    made = engine(spec).encode(jobs_of(images, spec))
    for data, wanted in zip(made, PillowEncoder(spec).encode_batch(images), strict=True):
        one, other = (
            np.asarray(Image.open(io.BytesIO(each))).astype(int)
            for each in (data, wanted.data)  # type: ignore[union-attr]
        )
        assert one.shape == other.shape
        assert np.abs(one - other).mean() < 3


def test_a_batch_beyond_the_pipelines_own_is_refused(found: Libraries) -> None:
    kind = Kind(3, turned=False, resized=False)
    pipe = found.build(kind, device_id=found.device_id, threads=1, most=2)
    turns = pipe_arguments(kind, [DaliImage(b"", "jpg", 48, 32, 3, orientation=3)] * 3)

    def run() -> None:
        pipe.feed_input("flip", turns["flip"])
        pipe.run()

    with pytest.raises(RuntimeError):
        run()


def test_a_pipeline_can_give_its_outputs_in_the_order_of_a_stream() -> None:
    """That is for a GPU; DALI has to have an executor of the new kind for it, which a CPU shows."""
    need_dali()
    pipe: Any = load_libraries(None).build(Kind(3, True, False), device_id=None, threads=1, most=2)
    assert pipe.exec_dynamic
