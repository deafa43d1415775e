"""The gate's windows against the plainest way to say what they mean: a list of everything that ever happened."""

from hypothesis import given
from hypothesis import strategies as st

from agents.risk.instruments import NANO
from agents.risk.windows import Executions, Extremes, RateWindow

GAPS = st.lists(st.sampled_from([0, 1, NANO // 3, NANO // 2, NANO - 1, NANO]), min_size=1, max_size=30)


def times_of(gaps: list[int]) -> list[int]:
    return [sum(gaps[: turn + 1]) for turn in range(len(gaps))]


@given(GAPS, st.integers(1, 5), st.integers(0, 30))
def test_there_is_room_when_fewer_than_the_limit_lie_in_the_last_second(gaps: list[int], most: int, cut: int) -> None:
    window = RateWindow()
    times = times_of(gaps)
    for turn, now in enumerate(times):
        window.add(now)
        if turn == cut:
            window = RateWindow(window.snapshot())
        for later in (now, now + NANO // 2, now + NANO):
            young = [ts for ts in times[: turn + 1] if ts > later - NANO]
            assert window.has_room(most, later) == (len(young) < most)


@given(GAPS, st.integers(1, 5), st.integers(0, 30))
def test_the_throttle_closes_when_the_limit_is_reached_within_the_window_and_stays_closed(
    gaps: list[int], most: int, cut: int
) -> None:
    executions = Executions()
    times = times_of(gaps)
    closed = False
    for turn, now in enumerate(times):
        executions.add(most, NANO, now)
        if turn == cut:
            executions = Executions(executions.snapshot(), is_latched=executions.is_latched)
        closed = closed or len([ts for ts in times[: turn + 1] if ts > now - NANO]) >= most
        assert executions.is_latched == closed


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, NANO // 3, NANO - 1, NANO]), st.integers(1, 9)), min_size=1, max_size=30),
    st.integers(0, 30),
)
def test_the_extremes_of_a_period_are_those_of_all_that_is_young_enough(
    entries: list[tuple[int, int]], cut: int
) -> None:
    extremes = Extremes()
    assert extremes.since(0) is None
    times = times_of([gap for gap, _ in entries])
    for turn, now in enumerate(times):
        extremes.add(entries[turn][1], NANO, now)
        if turn == cut:
            extremes = Extremes(tuple(extremes.highs), tuple(extremes.lows))
        for later in (now, now + NANO // 3, now + NANO - 1):
            young = [
                value for ts, (_, value) in list(zip(times, entries, strict=True))[: turn + 1] if ts > later - NANO
            ]
            assert extremes.since(later - NANO) == (min(young), max(young))
        assert extremes.since(now) is None
