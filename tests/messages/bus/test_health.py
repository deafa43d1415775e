"""Health is progress, judged from what is seen alone."""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from messages.bus.health import WELL, ReadingHealth, SendingHealth
from messages.bus.protocol import Partition

STALL_NS, JOIN_NS = 4_000, 9_000
P0, P1 = Partition("market", 0), Partition("market", 1)


def reading() -> ReadingHealth:
    return ReadingHealth(stall_ns=STALL_NS, join_ns=JOIN_NS)


def looks(health: ReadingHealth, times: Sequence[int], position: int, end: int | None) -> list[str]:
    """The state at each time of a consumer that stands still."""
    ends = None if end is None else {P0: end}
    return [health.look(now, is_waiting=True, positions={P0: position}, ends=ends).state for now in times]


def test_a_position_that_stands_while_its_end_is_ahead_is_a_stall_that_says_where() -> None:
    health = reading()
    assert looks(health, [1_000, 4_900], 7, 9) == ["ok", "ok"]
    verdict = health.look(5_000, is_waiting=True, positions={P0: 7}, ends={P0: 9})
    assert (verdict.state, verdict.since_ns) == ("stalled", 1_000)
    assert "market-0 stands at 7 while its end is 9" in verdict.reason


def test_a_consumer_at_the_end_is_well_for_ever() -> None:
    assert looks(reading(), range(0, 100_000, 1_000), 9, 9) == ["ok"] * 100


def test_the_wait_begins_when_the_end_moves_ahead() -> None:
    health = reading()
    assert looks(health, [0, 50_000], 9, 9) == ["ok", "ok"]
    assert looks(health, [53_000, 54_000], 9, 10) == ["ok", "stalled"]


def test_one_stuck_partition_is_not_hidden_by_another_that_flows() -> None:
    health = reading()
    states = [
        health.look(now, is_waiting=True, positions={P0: now, P1: 3}, ends={P1: 4}).state
        for now in range(0, 6_000, 1_000)
    ]
    assert states == ["ok"] * 4 + ["stalled"] * 2


def test_nobody_who_answers_is_a_stall_only_while_nothing_comes() -> None:
    assert looks(reading(), [0, 3_000, 4_000], 7, None) == ["ok", "ok", "stalled"]
    health = reading()
    flowing = [health.look(n, is_waiting=True, positions={P0: n}, ends=None).state for n in range(0, 20_000, 1_000)]
    assert set(flowing) == {"ok"}


def test_a_member_may_wait_longer_for_its_first_partitions() -> None:
    health = reading()
    states = [health.look(now, is_waiting=True, positions=None, ends={}).state for now in (0, 8_000, 9_000)]
    assert states == ["ok", "ok", "stalled"]
    assert health.look(9_500, is_waiting=True, positions={}, ends={}) == WELL


def test_what_the_client_cannot_mend_is_a_stall_at_once_if_somebody_waits() -> None:
    health = reading()
    assert health.look(0, is_waiting=True, positions={}, ends={}, failure="out of step").reason == "out of step"
    assert health.look(0, is_waiting=False, positions={}, ends={}, failure="out of step") == WELL


def test_only_partitions_that_stand_still_are_worth_asking_about() -> None:
    health = reading()
    assert health.idle_at({P0: 1, P1: 1}) == []
    health.look(0, is_waiting=True, positions={P0: 1, P1: 1}, ends={})
    assert health.idle_at({P0: 2, P1: 1}) == [P1]


look = st.tuples(
    st.integers(0, 3_000),  # ns since the last look
    st.booleans(),  # somebody waits
    st.dictionaries(st.sampled_from([P0, P1]), st.integers(0, 2), min_size=1),
    st.none() | st.fixed_dictionaries({P0: st.integers(0, 3), P1: st.integers(0, 3)}),
)


@given(st.lists(look, max_size=40))
def test_a_stall_is_told_exactly_when_progress_was_due_for_so_long(
    history: list[tuple[int, bool, dict[Partition, int], Mapping[Partition, int] | None]],
) -> None:
    health, now = reading(), 0
    seen: list[tuple[int, bool, dict[Partition, int], Mapping[Partition, int] | None]] = []
    for step, is_waiting, positions, ends in history:
        now += step
        seen.append((now, is_waiting, positions, ends))
        verdict = health.look(now, is_waiting=is_waiting, positions=positions, ends=ends)
        assert (verdict.state == "stalled") is _is_stalled(seen)
        assert verdict.state == "ok" or now - verdict.since_ns >= STALL_NS


def _is_stalled(seen: list[tuple[int, bool, dict[Partition, int], Mapping[Partition, int] | None]]) -> bool:
    """The rule read backwards over the whole history: a second, slower way to the same answer."""
    now, is_waiting, positions, ends = seen[-1]
    if not is_waiting:
        return False
    return _has_silence(seen) or any(
        ends is not None and ends[partition] > position and now - _well_at(seen, partition) >= STALL_NS
        for partition, position in positions.items()
    )


def _well_at(seen: list[tuple[int, bool, dict[Partition, int], Mapping[Partition, int] | None]], p: Partition) -> int:
    """When this partition was well last: it moved, was at its end, was new, or nobody waited."""
    for index in range(len(seen) - 1, -1, -1):
        at, _, positions, ends = seen[index]
        before = seen[index - 1] if index else None
        if before is None or not before[1] or before[2].get(p) != positions[p]:
            return at
        if ends is not None and ends[p] <= positions[p]:
            return at
    raise AssertionError


def _has_silence(seen: list[tuple[int, bool, dict[Partition, int], Mapping[Partition, int] | None]]) -> bool:
    """Whether nobody answered and nothing moved in all looks of the last stall time."""
    first = None
    for index in range(len(seen) - 1, -1, -1):
        at, is_waiting, positions, ends = seen[index]
        before = seen[index - 1] if index else None
        moved = (
            before is not None
            and before[1]
            and any(before[2].get(p, position) != position for p, position in positions.items())
        )
        if not is_waiting or ends is not None or moved:
            break
        first = at
    return first is not None and seen[-1][0] - first >= STALL_NS


def test_sends_without_any_acknowledgement_are_a_stall() -> None:
    health = SendingHealth(stall_ns=STALL_NS)
    assert [health.look(now, acknowledged=5, pending=2).state for now in (0, 100, 4_100)] == ["ok", "ok", "stalled"]
    assert health.look(4_200, acknowledged=6, pending=1) == WELL


def test_a_producer_with_nothing_under_way_is_well_for_ever() -> None:
    health = SendingHealth(stall_ns=STALL_NS)
    assert {health.look(now, acknowledged=1, pending=0).state for now in range(0, 90_000, 1_000)} == {"ok"}


def test_a_producer_that_can_never_send_again_is_a_stall_at_once() -> None:
    assert SendingHealth(stall_ns=STALL_NS).look(0, acknowledged=0, pending=0, failure="out of step").state == "stalled"


@given(st.lists(st.tuples(st.integers(0, 3_000), st.booleans(), st.integers(0, 2)), max_size=40))
def test_a_producer_stalls_exactly_when_nothing_came_back_for_so_long(history: list[tuple[int, bool, int]]) -> None:
    health, now, acknowledged, well_ns = SendingHealth(stall_ns=STALL_NS), 0, 0, None
    for step, answers, pending in history:
        now, acknowledged = now + step, acknowledged + answers
        if pending == 0:
            well_ns = None
        elif answers or well_ns is None:
            well_ns = now
        verdict = health.look(now, acknowledged=acknowledged, pending=pending)
        assert (verdict.state == "stalled") is (well_ns is not None and now - well_ns >= STALL_NS)
