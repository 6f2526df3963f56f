"""`beam_export.images.watch`: a thread that sleeps is told from one that waits or works."""

from __future__ import annotations

from beam_export.images.watch import Pulse, is_asleep, pulse


def test_asleep_is_who_does_nothing_though_nothing_stands_in_the_way() -> None:
    still = Pulse("S", 1.0, 7, 3)
    assert is_asleep(still, still)
    for now in (still._replace(ran=8), still._replace(used=1.01), still._replace(faults=4)):
        assert not is_asleep(still, now)
    for state in "RDTtI":
        assert not is_asleep(still._replace(state=state), still._replace(state=state))
    mine = pulse("/proc/self")
    assert mine is not None
    assert mine.state == "R"
    assert pulse("/proc/0") is None
