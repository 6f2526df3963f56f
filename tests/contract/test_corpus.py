"""Inputs that fuzzing found worth keeping, run once each: more by `fuzz.py` of benchmarks."""

from __future__ import annotations

import sys

import pytest
from support.exports import ROOT

sys.path.insert(0, str(ROOT))

from benchmarks.robustness import fuzz

CORPUS = ROOT / "tests" / "corpus"


@pytest.mark.parametrize("target", sorted(fuzz.TARGETS))
def test_corpus_replays(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    assert inputs
    for path in inputs:
        fuzz.TARGETS[target](path.read_bytes())
