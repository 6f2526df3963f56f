from __future__ import annotations

from beam_export.verify.findings import Fault, Faults


def test_a_file_full_of_faults_is_cut_short() -> None:
    faults = Faults()
    for number in range(1000):
        faults.add("f", f"fault {number}")
    assert len(faults.all()) == 101
    assert faults.all()[-1].problem == "fault 99" or "more faults" in str(faults.all())


def test_a_fault_is_one_line() -> None:
    assert "\n" not in Fault("a.tar", "b\nc", "wrong\nin two", "mend it").line()
