from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from support.exports import picture
from support.made_exports import make_export

from beam_export.errors import InputError
from beam_export.samples import Sample
from beam_export.shards.leftovers import remove_or_refuse
from beam_export.shards.output import Output
from beam_export.shards.report_file import REPORT, find_report, is_report, put_report, sealed_page


@pytest.fixture
def output(tmp_path: Path) -> Output:
    make_export(tmp_path / "out", [Sample(id="a", image=picture(1))])
    return Output(str(tmp_path / "out"), uuid.uuid4().hex)


def at(output: Output) -> Path:
    return Path(output.directory) / REPORT


def test_a_report_is_written_and_known_again(output: Output) -> None:
    assert find_report(output) == ""
    assert put_report(output, b"<html>1</html>") == str(at(output))
    assert at(output).read_bytes() == sealed_page(b"<html>1</html>")
    assert find_report(output) == "ours"
    put_report(output, b"<html>2</html>")
    assert at(output).read_bytes() == sealed_page(b"<html>2</html>")
    output.sweep()
    assert not list(Path(output.directory).glob("_tmp*"))


def test_the_same_report_is_not_written_again(output: Output) -> None:
    put_report(output, b"<html>1</html>")
    before = at(output).stat()
    put_report(output, b"<html>1</html>")
    assert at(output).stat() == before


@pytest.mark.parametrize("content", [b"", b"mine", sealed_page(b"<html>") + b"edited"])
def test_a_file_of_somebody_else_is_left_alone(output: Output, content: bytes) -> None:
    at(output).write_bytes(content)
    with pytest.raises(InputError, match="not this tool's, or was edited: move it away"):
        put_report(output, b"<html>")
    assert at(output).read_bytes() == content


def test_a_link_is_not_followed(output: Output, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    other.write_bytes(sealed_page(b"<html>"))
    at(output).symlink_to(other)
    with pytest.raises(InputError, match="not this tool's"):
        put_report(output, b"<html>2</html>")
    assert other.read_bytes() == sealed_page(b"<html>")


def test_any_change_shows(output: Output) -> None:
    page = sealed_page(b"<html>\n</html>")
    assert is_report(page)
    for at_byte in range(len(page)):
        assert not is_report(page[:at_byte] + b"~" + page[at_byte + 1 :])


@pytest.mark.parametrize("ours", [True, False])
def test_clean_removes_it_with_the_export_if_it_is_ours(output: Output, ours: bool) -> None:
    put_report(output, b"<html>1</html>")
    if not ours:
        at(output).write_bytes(b"mine")
    output.prepare()
    remove_or_refuse(output, "f" * 12, 1, clean=True)
    assert at(output).exists() != ours
