from __future__ import annotations

import re

from support.exports import ROOT

from beam_export.exports.report.style import STYLE

REPORT = ROOT / "beam_export" / "exports" / "report"
#: The style itself, and a docstring's example.
NO_PAGES = ("style.py", "elements.py")


def classes_used() -> set[str]:
    """Returns the classes that the code gives to elements."""
    code = "".join(path.read_text() for path in REPORT.glob("*.py") if path.name not in NO_PAGES)
    return {name for text in re.findall(r'class_="([^"]+)"', code) for name in text.split()}


def test_every_class_has_a_rule_and_every_rule_a_use() -> None:
    rules = set(re.findall(r"\.([a-z]+)\b(?=[^{}]*\{)", re.sub(r"\d*\.\d+\w*", "", STYLE)))
    assert classes_used() - rules == set()
    assert rules - classes_used() == set()


def test_it_loads_nothing_and_cannot_end_its_element() -> None:
    assert not re.search(r"url\(|@import|<", STYLE)


def test_both_schemes_have_the_same_colours() -> None:
    light, dark = (
        set(re.findall(r"--([a-z]+):", part)) for part in STYLE.split("@media (prefers", 1)
    )
    assert light == dark & light
    assert light
