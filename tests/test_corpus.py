"""Inputs that fuzzing found worth keeping, run once each: `benchmarks/fuzz.py` makes more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import fuzz

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("target", sorted(fuzz.TARGETS))
def test_corpus_replays(target: str) -> None:
    inputs = sorted((CORPUS / target).iterdir())
    assert inputs
    for path in inputs:
        fuzz.TARGETS[target](path.read_bytes())
