from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from beam_export.planning.guess import guess_seconds, in_words

WORK = st.tuples(st.integers(0, 10**10), st.integers(0, 10**15))


@given(WORK, WORK, st.booleans(), st.integers(1, 1000))
def test_more_work_takes_longer_and_more_cores_less(
    copied: tuple[int, int], encoded: tuple[int, int], resizes: bool, cores: int
) -> None:
    one = guess_seconds(copied, encoded, resizes=resizes, cores=cores)
    more = (copied[0] + 1_000_000, copied[1])
    assert guess_seconds(more, encoded, resizes=resizes, cores=cores) >= one
    assert guess_seconds(copied, encoded, resizes=resizes, cores=cores + 1) <= one
    assert guess_seconds(copied, encoded, resizes=True, cores=cores) <= one
    assert in_words(one)


def test_encoding_costs_more_than_copying() -> None:
    some, none = (1000, 10**8), (0, 0)
    copied = guess_seconds(some, none, resizes=False, cores=1)
    assert guess_seconds(none, some, resizes=False, cores=1) > copied
