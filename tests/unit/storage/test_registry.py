from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from beam_export.storage.local import LocalStorage
from beam_export.storage.local_writer import LocalWriter
from beam_export.storage.registry import check_reachable, folders_of, storage_of, writer_of


@pytest.mark.parametrize("path", ["photos", "/photos", "a:b/c", "./x"])
def test_a_path_without_a_scheme_is_local(path: str) -> None:
    assert isinstance(storage_of(path), LocalStorage)
    assert isinstance(writer_of(path), LocalWriter)
    assert folders_of(path) is not None
    check_reachable("--input", path)


def test_an_object_store_has_no_folders() -> None:
    assert folders_of("gs://bucket/a") is None
    assert folders_of("s3://bucket/a") is None


def test_local_paths_load_neither_beam_nor_googles_client(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from beam_export.storage.registry import check_reachable, storage_of, writer_of\n"
        f"check_reachable('--input', {str(tmp_path)!r}); storage_of('x'); writer_of('x')\n"
        "print({'apache_beam', 'google.cloud.storage'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
