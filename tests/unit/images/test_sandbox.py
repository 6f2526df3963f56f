from __future__ import annotations

import io
import signal
import struct
from typing import Any

import pytest
from support.exports import picture

from beam_export.errors import RunError, SampleError
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.sandbox import Sandbox, _receive
from beam_export.samples import EncodedImage

SPEC = EncodeSpec(mode="always", quality=80)


@pytest.fixture
def sandbox() -> Any:
    sandbox = Sandbox(SPEC)
    yield sandbox
    sandbox.close()


def test_an_image_becomes_what_it_becomes_without_a_sandbox(sandbox: Sandbox) -> None:
    data = picture(1)
    encoder = PillowEncoder(SPEC)
    encoder.open()
    (expected,) = encoder.encode_batch([data])
    encoder.close()
    assert isinstance(expected, EncodedImage)
    assert sandbox.encode(data) == expected


def test_what_cannot_be_decoded_is_a_failure_and_the_next_image_is_encoded(
    sandbox: Sandbox,
) -> None:
    assert isinstance(sandbox.encode(b"no image"), SampleError)
    assert isinstance(sandbox.encode(picture(2)), EncodedImage)


def test_a_server_that_is_gone_ends_the_run_and_a_new_one_serves_the_next(
    sandbox: Sandbox,
) -> None:
    sandbox.encode(picture(1))
    assert sandbox._server is not None
    sandbox._server.kill()
    sandbox._server.wait()
    with pytest.raises(RunError, match="has ended"):
        sandbox.encode(picture(2))
    assert isinstance(sandbox.encode(picture(3)), EncodedImage)


def test_half_an_answer_is_the_end_of_a_server() -> None:
    whole = struct.pack(">BQ", 0, 6) + b"answer"
    assert _receive(io.BytesIO(whole)) == (0, b"answer")
    for half in (b"", whole[:5], whole[:-1]):
        with pytest.raises(EOFError):
            _receive(io.BytesIO(half))


def test_who_ignores_how_processes_end_has_images_encoded_too(sandbox: Sandbox) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert isinstance(sandbox.encode(picture(1)), EncodedImage)
        sandbox.close()
    finally:
        signal.signal(signal.SIGCHLD, before)
