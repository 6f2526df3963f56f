"""Files of an input that flags name, as tables and lists of ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_export.options import ExportOptions
from beam_export.sources.lookup_files import lookup_files
from beam_export.storage.uris import pin, pin_file


@pytest.mark.parametrize(
    ("flags", "known"),
    [
        ({}, []),
        ({"metadata": "none"}, []),
        ({"metadata": "{}/t/a.csv"}, ["t/a.csv"]),
        ({"metadata": "{}/t/a.csv,{}/[b].csv"}, ["t/a.csv", "[b].csv"]),
        ({"metadata": "{}/t/{{a,c}}.csv"}, ["t/a.csv"]),
        ({"metadata": "{}/t"}, ["t/a.csv"]),
        ({"metadata": "{}/*.csv"}, ["[b].csv", "b.csv"]),
        ({"metadata": "{}/link"}, ["t/a.csv"]),
        ({"ids": "{}/t/i.txt", "exclude_ids": "{}/b.csv"}, ["t/i.txt", "b.csv"]),
    ],
)
def test_files_of_this_machine_that_flags_name_are_known(
    tmp_path: Path, flags: dict[str, str], known: list[str]
) -> None:
    names = ("t/a.csv", "t/i.txt", "[b].csv", "b.csv")
    (tmp_path / "t").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "t")
    for name in names:
        (tmp_path / name).touch()
    given = {flag: text.format(*[tmp_path] * 2) for flag, text in flags.items()}
    found = lookup_files(ExportOptions(output_dir="/out", **given))
    assert [one for one in names if found.have(pin_file(f"{tmp_path}/{one}", 0, 7))] == known


def test_objects_that_flags_name_are_known() -> None:
    options = ExportOptions(output_dir="/out", metadata="gs://b/t/*.csv,gs://b/u/", ids="gs://b/i")
    found = lookup_files(options)
    known = ("gs://b/t/a.csv", "gs://b/u/a.parquet", "gs://b/i")
    assert all(found.have(pin(one, 5)) for one in known)
    others = ("gs://b/t/a.txt", "gs://b/ux/a.csv", "gs://b/i.txt", "gs://b/u/a.jpg")
    assert not any(found.have(pin(one, 5)) for one in others)
