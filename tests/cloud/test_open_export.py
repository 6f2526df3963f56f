"""An export on an object store, opened where it lies."""

from __future__ import annotations

import pickle

import pytest
from support.exports import picture
from support.gcs import Emulator
from support.made_exports import NAMES, make_export

from beam_export.cli.main import main
from beam_export.errors import InputError, RunError
from beam_export.exports.dataset import open_export
from beam_export.samples import Sample
from beam_export.shards.report_file import REPORT, is_report

SAMPLES = [
    Sample(id=f"img{number}", image=picture(number), metadata={"score": number / 2})
    for number in range(8)
]

#: Google's client does not close what it has read an error from.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


def test_an_export_is_read_where_it_lies(bucket: str, emulator: Emulator) -> None:
    make_export(f"{bucket}/out", SAMPLES)
    before = len(emulator.log())
    dataset = open_export(f"{bucket}/out/")
    assert len(dataset) == 8
    # A listing of `_meta`, and the manifest and the table of shards, each looked for and read.
    assert len(emulator.log()) - before <= 6
    assert dataset[4] == SAMPLES[4]
    before = len(emulator.log())
    assert dataset[3] == SAMPLES[3]
    assert len(emulator.log()) - before == 1
    assert list(pickle.loads(pickle.dumps(dataset))[1:]) == SAMPLES[1:]
    assert dataset.by_id("img7") == SAMPLES[7]
    assert dataset.table(["score"])["score"].to_pylist() == [n / 2 for n in range(8)]


def test_what_is_wrong_is_a_sentence(bucket: str, emulator: Emulator) -> None:
    with pytest.raises(InputError, match="holds no export of this tool"):
        open_export(f"{bucket}/nothing")
    make_export(f"{bucket}/out", SAMPLES)
    emulator.remove(f"{bucket}/out/{NAMES.tar(0)}")
    with pytest.raises(RunError, match=r"000000\.tar is damaged \(it is missing\)"):
        open_export(f"{bucket}/out")[0]


def test_a_report_is_written_beside_it(
    bucket: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    make_export(f"{bucket}/out", SAMPLES)
    page = f"{bucket}/out/{REPORT}"
    assert main(["report", f"{bucket}/out"]) == 0
    assert page in capsys.readouterr().out
    first = emulator.get(page)
    assert is_report(first)
    assert first.count(b"data:image/jpeg") == 16
    assert main(["report", f"{bucket}/out", "--images=3"]) == 0
    assert emulator.get(page) != first
    emulator.put(page, b"mine")
    assert main(["report", f"{bucket}/out"]) == 2
    assert emulator.get(page) == b"mine"
    assert not emulator.list(f"{bucket}/out/_tmp")
