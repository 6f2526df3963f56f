"""Standard streams that are full, closed or speak another language: the export is what it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.exports import directory_hashes, left_over, make_images, picture

COMMAND = f"{sys.executable} -m beam_export"
COUNT = 6
LIMIT = 240

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}
LOCALES = {
    "ascii": ASCII,
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin-1": ASCII | {"PYTHONIOENCODING": "latin-1"},
}
NAMES = ["größe.jpg", "日本.jpg", "caf\udce9.jpg", "plain.jpg"]


def shell(line: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, env=os.environ | environ, timeout=LIMIT
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), COUNT)


@pytest.fixture(scope="module")
def expected(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("expected") / "out"
    done = shell(export(images, out))
    assert done.returncode == 0, done.stderr
    return directory_hashes(out)


def export(source: Path, out: Path, workers: int = 1) -> str:
    """Returns the command; each worker beyond the first makes it take seconds more."""
    flags = f"--images_per_tar=2 --direct_num_workers={workers}"
    return f"{COMMAND} --input '{source}' --output_dir '{out}' {flags}"


@pytest.mark.parametrize(
    ("streams", "workers", "code", "words"),
    [
        (">/dev/full", 1, 1, b"No space left on device"),
        pytest.param("<&- >&- 2>&-", 2, 0, b"", marks=pytest.mark.slow),
        ("<&- >&-", 1, 0, b"planned 6 images"),
        pytest.param(">&- 2>/dev/full --verbose", 2, 0, b"", marks=pytest.mark.slow),
    ],
)
def test_an_export_is_the_same_whatever_it_is_printed_to(
    images: Path,
    expected: dict[str, str],
    tmp_path: Path,
    streams: str,
    workers: int,
    code: int,
    words: bytes,
) -> None:
    done = shell(f"{export(images, tmp_path / 'out', workers)} {streams}")
    assert (done.returncode, done.stdout) == (code, b""), done.stderr
    assert words in done.stderr
    assert (words == b"") == (done.stderr == b"")
    assert_no_traces(done.stderr)
    assert directory_hashes(tmp_path / "out") == expected
    assert left_over(tmp_path / "out") == []


def assert_no_traces(said: bytes) -> None:
    for words in (b"Traceback", b"Exception ignored", b"Error"):
        assert words not in said


@pytest.mark.parametrize("arguments", ["--help", "export --help", "verify --help", "--version"])
def test_help_to_a_full_disk(arguments: str) -> None:
    done = shell(f"{COMMAND} {arguments} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert_no_traces(done.stderr)


@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_an_error_that_cannot_be_told_is_one(streams: str) -> None:
    done = shell(f"{COMMAND} exprot {streams}")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_a_reader_that_has_read_enough(tmp_path: Path) -> None:
    # More than any pipe holds, and printed line by line.
    program = (
        "from beam_export.cli import main as cli\n"
        "def many(flags):\n"
        "    for line in range(10**5): print(line, flush=True)\n"
        "    return 0\n"
        "cli._COMMANDS['many'] = many\n"
        "raise SystemExit(cli.main())"
    )
    done = shell(f'{sys.executable} -c "{program}" many | head -1; echo ${{PIPESTATUS[0]}}')
    assert (done.stdout, done.stderr) == (b"0\n0\n", b"")


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from beam_export.cli import main as cli\n"
        "def look(flags):\n"
        "    with open(flags[0], 'wb') as file:\n"
        "        print('into the file?'); print('and this?', file=sys.stderr)\n"
        "        os.system('echo or this? ; echo and this? >&2')\n"
        "        return file.fileno()\n"
        "cli._COMMANDS['look'] = look\n"
        "raise SystemExit(cli.main())"
    )
    done = shell(f'{sys.executable} -c "{program}" look {tmp_path}/file <&- >&- 2>&-')
    assert done.returncode > 2
    assert (tmp_path / "file").read_bytes() == b""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose names are no ASCII, and one whose name is no UTF-8."""
    folder = tmp_path_factory.mktemp("odd")
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(picture(number))
    return folder


@pytest.fixture(scope="module")
def in_utf8(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("utf8") / "out"
    done = shell(export(odd, out), LC_ALL="C.UTF-8")
    assert done.returncode == 0, done.stderr
    return directory_hashes(out)


@pytest.mark.slow
@pytest.mark.parametrize("locale", LOCALES)
def test_an_export_is_the_same_in_any_locale(
    odd: Path, in_utf8: dict[str, str], tmp_path: Path, locale: str
) -> None:
    environ, out = LOCALES[locale], tmp_path / "größe 日本"
    # What none of them can print is told too.
    (tmp_path / "ids.txt").write_text("größe\n", encoding="utf-8")
    dry = shell(f"{export(odd, out)} --dry_run --ids '{tmp_path}/ids.txt'", **environ)
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.startswith(b"would write 1 image in 1 shard")
    assert not out.exists()
    done = shell(export(odd, out, workers=2), **environ)
    assert done.returncode == 0, done.stderr
    assert_no_traces(done.stderr)
    assert done.stdout.startswith(b"4 images in 2 shards")
    assert directory_hashes(out) == in_utf8
    tar = min(out.glob("*.tar"))
    tar.write_bytes(tar.read_bytes().replace("größe".encode(), b"gr\xff\x1b\xffsse"))
    (out / "stray-größe.tar").write_bytes(b"")
    for flag in ("", "--json"):
        done = shell(f"{COMMAND} verify '{out}' --direct_num_workers=1 {flag}", **environ)
        assert done.returncode == 1, done.stderr
        assert_no_traces(done.stderr)
        if flag:
            assert json.loads(done.stdout)["faults"]
        else:
            assert b"stray-gr" in done.stdout


@pytest.mark.parametrize("locale", LOCALES)
def test_errors_are_told_in_any_locale(locale: str) -> None:
    done = shell(f"{COMMAND} größe日", **LOCALES[locale])
    assert done.returncode == 2
    told = {"latin-1": "größe\\u65e5".encode("latin-1")}.get(locale, b"gr\\xf6\\xdfe\\u65e5")
    assert told in done.stderr
