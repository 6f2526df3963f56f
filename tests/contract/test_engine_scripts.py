"""How the scripts of engines fetch: what Maven cannot get now is tried again, if it is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.exports import ROOT

MISSING = "[ERROR] Could not find artifact org.apache.beam:x:jar:1 in central"
NETWORK = "[ERROR] Could not transfer artifact org.apache.beam:x:jar:1"


def fetched(folder: Path, *answers: str) -> tuple[int, int, str]:
    """Fetches with a Maven that answers so, an empty answer being success.

    Returns the exit code, the number of calls, and what was said.
    """
    (folder / "answers").write_text("".join(f"{answer}\n" for answer in answers))
    script = f"""
        . {ROOT}/engines/common.sh
        cache={folder}
        sleep() {{ :; }}
        mvn() {{
            echo >> {folder}/calls
            local answer
            answer=$(sed -n "$(wc -l < {folder}/calls)p" {folder}/answers)
            echo "Downloading"
            [ -n "$answer" ] || {{ mkdir {folder}/made.part; return 0; }}
            echo "$answer"
            return 1
        }}
        tries fetch {folder}/made some:goal
    """
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (folder / "made").exists() == (run.returncode == 0)
    assert not (folder / "made.part").exists()
    return run.returncode, len((folder / "calls").read_text()), run.stderr


@pytest.mark.parametrize(
    ("answers", "code", "calls"),
    [
        ([""], 0, 1),
        ([NETWORK, NETWORK, ""], 0, 3),
        ([NETWORK, NETWORK, NETWORK, ""], 1, 3),
        ([MISSING, ""], 1, 1),
        ([NETWORK, MISSING, ""], 1, 2),
    ],
)
def test_what_may_come_is_tried_again(
    answers: list[str], code: int, calls: int, tmp_path: Path
) -> None:
    ended, called, said = fetched(tmp_path, *answers)
    assert (ended, called) == (code, calls)
    for answer in answers[:calls]:
        assert answer in said
    assert "Downloading" not in said
