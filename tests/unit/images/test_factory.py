"""`beam_export.images.factory`: which encoder and device are chosen."""

from __future__ import annotations

import pickle

import pytest

from beam_export.errors import InputError
from beam_export.images import factory
from beam_export.images.dali.encoder import DaliEncoder
from beam_export.images.encoder import EncodeSpec
from beam_export.images.factory import choose_encoder
from beam_export.images.pillow_encoder import PillowEncoder

ALWAYS = EncodeSpec(mode="always")


@pytest.mark.parametrize(
    ("encoder", "device", "gpu", "installed", "expected"),
    [
        ("auto", "auto", True, True, "gpu"),
        ("auto", "auto", True, False, "pillow"),
        ("auto", "auto", False, True, "pillow"),
        ("auto", "auto", False, False, "pillow"),
        ("auto", "cpu", True, True, "pillow"),
        ("auto", "gpu", True, True, "gpu"),
        ("auto", "gpu", False, True, "this machine has no NVIDIA GPU"),
        ("auto", "gpu", True, False, "--device=gpu was given, but NVIDIA DALI is not installed"),
        ("pillow", "auto", True, True, "pillow"),
        ("pillow", "cpu", True, True, "pillow"),
        ("pillow", "gpu", True, True, "contradict each other"),
        ("dali", "auto", True, True, "gpu"),
        ("dali", "auto", False, True, "cpu"),
        ("dali", "cpu", True, True, "cpu"),
        ("dali", "gpu", True, True, "gpu"),
        ("dali", "gpu", False, True, "this machine has no NVIDIA GPU"),
        ("dali", "auto", True, False, "--encoder=dali was given, but NVIDIA DALI is not"),
    ],
)
def test_choice_here(
    monkeypatch: pytest.MonkeyPatch,
    encoder: str,
    device: str,
    gpu: bool,
    installed: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(factory, "gpu_names", lambda: ("NVIDIA Fake 9",) if gpu else ())
    for name in ("dali_is_installed", "codec_is_installed"):
        monkeypatch.setattr(factory, name, lambda: installed)
    if " " in expected:
        with pytest.raises(InputError, match=expected) as caught:
            choose_encoder(ALWAYS, encoder, device)
        assert not installed or "pip install" not in caught.value.sentence
        return
    made = choose_encoder(ALWAYS, encoder, device, threads=3)
    assert getattr(made, "device", "pillow") == expected
    assert made.threads == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("encoder", "device", "gpu", "expected"),
    [
        ("auto", "auto", True, "gpu"),
        ("auto", "auto", False, "pillow"),
        ("dali", "auto", False, "cpu"),
        ("dali", "auto", True, "gpu"),
        ("dali", "gpu", False, "gpu"),
        ("auto", "gpu", False, "gpu"),
    ],
)
def test_choice_for_workers_elsewhere_asks_nothing_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, encoder: str, device: str, gpu: bool, expected: str
) -> None:
    monkeypatch.setattr(factory, "gpu_names", lambda: pytest.fail("asked here"))
    monkeypatch.setattr(factory, "dali_is_installed", lambda: pytest.fail("asked here"))
    made = choose_encoder(ALWAYS, encoder, device, workers_have_gpu=gpu)
    assert getattr(made, "device", "pillow") == expected


@pytest.mark.parametrize(
    ("encoder", "device"), [("auto", "auto"), ("dali", "gpu"), ("dali", "cpu")]
)
def test_nvimagecodec_alone_suffices_where_nothing_is_resized(
    monkeypatch: pytest.MonkeyPatch, encoder: str, device: str
) -> None:
    monkeypatch.setattr(factory, "gpu_names", lambda: ("NVIDIA Fake 9",))
    monkeypatch.setattr(factory, "dali_is_installed", lambda: False)
    monkeypatch.setattr(factory, "codec_is_installed", lambda: True)
    made = choose_encoder(ALWAYS, encoder, device)
    assert isinstance(made, DaliEncoder)
    assert not made.changes_pixels
    assert not pickle.loads(pickle.dumps(made)).changes_pixels
    resizing = EncodeSpec(mode="always", resize=100)
    if encoder == "auto":
        assert isinstance(choose_encoder(resizing, encoder, device), PillowEncoder)
    else:
        with pytest.raises(InputError, match="NVIDIA DALI is not installed"):
            choose_encoder(resizing, encoder, device)
    monkeypatch.setattr(factory, "dali_is_installed", lambda: True)
    assert choose_encoder(ALWAYS, encoder, device).changes_pixels  # type: ignore[attr-defined]


def test_workers_elsewhere_need_all_of_dali_and_know_how_many_share_a_gpu() -> None:
    made = choose_encoder(ALWAYS, "dali", "gpu", workers_have_gpu=True, gpu_processes=0)
    assert isinstance(made, DaliEncoder)
    assert (made.changes_pixels, made.processes) == (True, 0)


def test_copying_everything_needs_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "gpu_names", lambda: ("NVIDIA Fake 9",))
    made = choose_encoder(EncodeSpec(mode="never"), "auto", "auto", workers_have_gpu=True)
    assert isinstance(made, PillowEncoder)
