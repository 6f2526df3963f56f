from __future__ import annotations

import importlib.metadata

import pytest

from beam_export.errors import InputError
from beam_export.storage import registry
from beam_export.storage.registry import check_reachable


@pytest.mark.parametrize(
    ("path", "package", "extra"),
    [
        ("gs://b/x", "beam_export", "gcp"),
        ("s3://b/x", "beam_export", "aws"),
        ("hdfs://b/x", "apache-beam", "hadoop"),
        ("azfs://b/x", "apache-beam", "azure"),
    ],
)
@pytest.mark.parametrize("flag", ["--input", "--output_dir", "--metadata"])
def test_a_missing_extra_is_one_sentence_that_names_it(
    path: str, package: str, extra: str, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_is_installed", lambda module: False)
    with pytest.raises(InputError) as caught:
        check_reachable(flag, path)
    assert caught.value.sentence == (
        f"{flag}={path}: what {path.removesuffix('b/x')} needs is not installed: install the extra "
        f"{extra!r}, pip install '{package}[{extra}]'."
    )
    assert extra in (importlib.metadata.metadata(package).get_all("Provides-Extra") or [])


@pytest.mark.parametrize("path", ["/x", "x", "9://x"])
def test_local_paths_need_none(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_is_installed", lambda module: False)
    check_reachable("--input", path)
