"""What must be true before a start: each check, and what it says when it isn't so."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from messages.bus.checks import (
    ClusterFacts,
    Finding,
    StartRefused,
    judge_clock,
    judge_extension,
    judge_replication,
    judge_topics,
    judge_versions,
    require,
)
from messages.errors import TopicMismatch

NOW_NS = 1_790_000_000 * 10**9
MODERN = {0: (0, 13), 1: (4, 18), 22: (0, 5)}
FACTS = ClusterFacts(
    brokers=(1, 2, 3),
    versions={1: MODERN, 2: MODERN, 3: MODERN},
    replication={"market": 3, "orders": 3},
    in_sync={"market": 3, "orders": 3},
    min_insync={"market": 2, "orders": 2},
)


def facts(**changes: Any) -> ClusterFacts:
    return msgspec.structs.replace(FACTS, **changes)


def levels(findings: Sequence[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def test_the_extension_is_missed_loudly() -> None:
    assert judge_extension(is_slow=False).level == "ok"
    slow = judge_extension(is_slow=True)
    assert slow.level == "warning"
    assert "28 times" in slow.line
    assert "install" in slow.line


@pytest.mark.parametrize("now_ns", [0, 10**9, 1_000_000_000 * 10**9, 5_000_000_000 * 10**9])
def test_a_clock_of_no_plausible_year_is_wrong(now_ns: int) -> None:
    finding = judge_clock(now_ns, None)
    assert finding.level == "wrong"
    assert "NTP" in finding.line


def test_a_clock_behind_the_newest_record_is_wrong_by_seconds_only() -> None:
    now_ms = NOW_NS // 10**6
    assert judge_clock(NOW_NS, None).level == "ok"
    assert judge_clock(NOW_NS, now_ms - 10**9).level == "ok"
    assert judge_clock(NOW_NS, now_ms + 4_000).level == "ok"
    behind = judge_clock(NOW_NS, now_ms + 7_500)
    assert behind.level == "wrong"
    assert "7.5 s behind" in behind.line


def test_brokers_are_judged_by_what_they_can_do() -> None:
    assert levels(judge_versions(FACTS)) == ["ok", "ok", "ok"]
    of_3_9 = MODERN | {1: (0, 17)}
    older = judge_versions(facts(versions={1: MODERN, 2: of_3_9, 3: MODERN}))
    assert levels(older) == ["ok", "warning", "ok"]
    assert "broker 2: is older than 4.0" in older[1].line
    for ancient in ({0: (0, 2), 1: (0, 3)}, {0: (0, 7), 1: (0, 10)}, {}):
        too_old = judge_versions(facts(brokers=(1,), versions={1: ancient}))
        assert levels(too_old) == ["wrong"]
        assert "0.11" in too_old[0].line


def test_a_broker_that_others_name_and_nobody_reaches_is_a_warning() -> None:
    findings = judge_versions(facts(versions={1: MODERN, 2: MODERN}))
    assert levels(findings) == ["ok", "ok", "warning"]
    assert "advertised.listeners" in findings[2].line


def test_topics_that_differ_are_wrong_but_for_how_long_they_are_kept() -> None:
    assert levels(judge_topics({})) == ["ok"]
    judged = {
        finding.check: finding
        for finding in judge_topics(
            {
                "market": ("retention.ms=1000, must be 604800000",),
                "control": ("retention.ms=1000, must be -1",),
                "orders": ("2 partitions, must be 4",),
                "status": ("missing",),
                "risk": ("cleanup.policy=delete, must be compact",),
            }
        )
    }
    assert [name for name, finding in judged.items() if finding.level == "warning"] == ["topic market"]
    assert "topics create" in judged["topic status"].line
    assert "topics check" in judged["topic orders"].line


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({}, "ok", "fits 3 broker"),
        ({"brokers": (1,), "replication": {"market": 1}, "min_insync": {"market": 1}}, "ok", "fits 1 broker"),
        ({"replication": {"market": 1}, "min_insync": {"market": 1}}, "warning", "one copy only"),
        ({"min_insync": {"market": 1}}, "warning", "dies with one broker"),
        ({"min_insync": {"market": 4}}, "wrong", "no send succeeds"),
        ({"in_sync": {"market": 1}}, "warning", "too few copies in sync"),
        ({"leaderless": ("market-2",)}, "warning", "market-2"),
    ],
)
def test_copies_must_survive_a_broker(changes: dict[str, Any], level: str, said: str) -> None:
    (finding,) = judge_replication(facts(**changes))
    assert finding.level == level
    assert said in finding.line


def test_what_is_wrong_is_refused_in_one_line() -> None:
    clock = Finding(check="clock", level="wrong", found="is late", remedy="set it")
    topic = Finding(check="topic market", level="wrong", found="missing")
    require([Finding(check="aiokafka", level="warning", found="slow")])
    with pytest.raises(StartRefused, match="clock: is late; set it"):
        require([clock])
    with pytest.raises(TopicMismatch, match="topic market: missing"):
        require([clock, topic])
