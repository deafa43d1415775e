"""Risk's heartbeat: when it counts as missed, and when that is news."""

from agents.execution.risk_watch import RiskWatch
from messages import Heartbeat, Record, encode

MS = 1_000_000


def beat(agent: str = "risk", state: str = "live") -> Record:
    value = encode(Heartbeat(agent_id="r", agent=agent, ts=0, state=state))
    return Record(topic="status", partition=0, offset=0, timestamp_ms=0, key=b"r/Heartbeat", value=value)


def test_silence_from_the_start_is_news_once_after_the_timeout() -> None:
    watch = RiskWatch(1_000)
    assert [watch.turned(at * MS) for at in (5_000, 5_900, 6_001, 9_000)] == [None, None, False, None]
    assert not watch.is_alive


def test_a_heartbeat_counts_from_when_it_was_seen_and_each_turn_is_told_once() -> None:
    watch = RiskWatch(1_000)
    watch.hear(beat(), 100 * MS)
    assert [watch.turned(at * MS) for at in (100, 1_100, 1_101, 1_200)] == [True, None, False, None]
    watch.hear(beat(), 1_300 * MS)
    assert watch.turned(1_300 * MS) is True
    assert watch.is_alive


def test_other_agents_and_garbage_are_no_heartbeat_of_risk() -> None:
    watch = RiskWatch(1_000)
    watch.hear(beat("venue"), 0)
    watch.hear(Record(topic="status", partition=0, offset=0, timestamp_ms=0, key=None, value=b"{"), 0)
    assert watch.turned(0) is None
    assert watch.turned(2_000 * MS) is False


def test_a_risk_that_sees_nothing_is_not_alive() -> None:
    watch = RiskWatch(1_000)
    watch.hear(beat(), 0)
    assert watch.turned(0) is True
    watch.hear(beat(state="stalled"), 900 * MS)
    assert watch.turned(1_001 * MS) is False
