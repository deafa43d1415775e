"""What must be true before an agent starts on a cluster: judged here without any I/O, each with what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from messages.errors import Fatal, TopicMismatch
from messages.topics import TOPICS

Level = Literal["ok", "warning", "wrong"]
Range = tuple[int, int]
_PRODUCE, _FETCH, _INIT_PRODUCER_ID = 0, 1, 22  # keys of Kafka's protocol
_NS = 1_000_000_000
_EARLIEST_NS, _LATEST_NS = 1_704_067_200 * _NS, 4_102_444_800 * _NS  # 2024 and 2100
MAX_BEHIND_S = 5.0  # an order older than this is refused by the venue (max_order_age)


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of one check. `wrong`: nothing should start; `warning`: it works, and a person should know."""

    check: str
    level: Level
    found: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """What was found and what to do, in one line."""
        return f"{self.check}: {self.found}" + (f"; {self.remedy}" if self.remedy else "")


class ClusterFacts(Struct, frozen=True, kw_only=True):
    """What a cluster says of itself.

    `versions`: for each broker that answers, the range of versions of each request. `replication`, `in_sync`: the
    lowest number of copies, and of copies that keep up, among a topic's partitions. `min_insync`: the topic's setting;
    a topic whose settings may not be read is not in it. `leaderless`: partitions that nobody leads, as topic-number.
    """

    brokers: tuple[int, ...]
    versions: Mapping[int, Mapping[int, Range]]
    replication: Mapping[str, int]
    in_sync: Mapping[str, int]
    min_insync: Mapping[str, int]
    leaderless: tuple[str, ...] = ()


class StartRefused(Fatal):
    """Raised when a check finds what an agent must not start on."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(finding.line for finding in findings))
        self.findings = tuple(findings)


def require(findings: Sequence[Finding]) -> None:
    """Raise TopicMismatch or StartRefused when any finding is wrong."""
    wrong = [finding for finding in findings if finding.level == "wrong"]
    for finding in wrong:
        if finding.check.startswith("topic "):
            raise TopicMismatch(finding.check.removeprefix("topic "), finding.found)
    if wrong:
        raise StartRefused(wrong)


def judge_extension(*, is_slow: bool) -> Finding:
    """Judge how aiokafka reads records."""
    if not is_slow:
        return Finding(check="aiokafka", level="ok", found="has its compiled extension")
    return Finding(
        check="aiokafka",
        level="warning",
        found="lacks its compiled extension, and reads records 28 times slower",
        remedy="install a wheel of aiokafka for this Python and platform",
    )


def judge_clock(now_ns: int, newest_ms: int | None) -> Finding:
    """Judge this machine's clock against the newest timestamp on the brokers (ms since the epoch), if there is any."""
    remedy = "set this machine's clock, and keep it by NTP"
    if not _EARLIEST_NS <= now_ns < _LATEST_NS:
        found = f"this machine's clock says {now_ns / _NS:.0f} s since 1970, which is not a day of this software"
        return Finding(check="clock", level="wrong", found=found, remedy=remedy)
    if newest_ms is None:
        return Finding(check="clock", level="ok", found="plausible; there is no record to compare it with")
    behind_s = newest_ms / 1e3 - now_ns / _NS
    if behind_s > MAX_BEHIND_S:
        found = f"this machine's clock is {behind_s:.1f} s behind the newest record's; orders would count as too old"
        return Finding(check="clock", level="wrong", found=found, remedy=f"{remedy}, and look at the brokers' clocks")
    return Finding(check="clock", level="ok", found="not behind the newest record on the brokers")


def judge_versions(facts: ClusterFacts) -> list[Finding]:
    """Judge what each broker can do."""
    findings = []
    for node, ranges in sorted(facts.versions.items()):
        name = f"broker {node}"
        if ranges.get(_INIT_PRODUCER_ID) is None or _newest(ranges, _PRODUCE) < 3 or _newest(ranges, _FETCH) < 4:
            found = "is older than 0.11: no idempotent producers, no headers on records"
            remedy = "nothing here works without; use Apache Kafka 4.x"
            findings.append(Finding(check=name, level="wrong", found=found, remedy=remedy))
        elif ranges.get(_FETCH, (0, 0))[0] < 4:  # 4.0 took the old versions away
            found = "is older than 4.0, or not Apache Kafka; only 4.x is tested"
            remedy = "expect trouble with takeovers of shards and with rebalances; use Apache Kafka 4.x"
            findings.append(Finding(check=name, level="warning", found=found, remedy=remedy))
        else:
            findings.append(Finding(check=name, level="ok", found="4.0 or newer"))
    return findings + [_away(node) for node in facts.brokers if node not in facts.versions]


def _away(node: int) -> Finding:
    return Finding(
        check=f"broker {node}",
        level="warning",
        found="can't be reached from here, though the others name it",
        remedy="look whether it runs, and at its advertised.listeners",
    )


def _newest(ranges: Mapping[int, Range], key: int) -> int:
    return ranges.get(key, (-1, -1))[1]


def judge_topics(differences: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Judge what `check_topics` says. How long records are kept is the operator's; all else must be as registered."""
    if not differences:
        return [Finding(check="topics", level="ok", found="as registered")]
    return [
        Finding(
            check=f"topic {name}",
            level="warning" if all(_is_taste(name, difference) for difference in found) else "wrong",
            found=", ".join(found),
            remedy="run `tickpilot topics create`" if "missing" in found else "see `tickpilot topics check`",
        )
        for name, found in differences.items()
    ]


def _is_taste(topic: str, difference: str) -> bool:
    return difference.startswith("retention.ms=") and TOPICS[topic].retention_ms > 0


def judge_replication(facts: ClusterFacts) -> list[Finding]:
    """Judge whether what is acknowledged survives the loss of a broker."""
    single = [name for name, copies in facts.replication.items() if copies == 1 and len(facts.brokers) >= 3]
    impossible = [name for name, least in facts.min_insync.items() if least > facts.replication.get(name, least)]
    lonely = [name for name, least in facts.min_insync.items() if least == 1 and facts.replication.get(name, 1) >= 3]
    thin = [
        name
        for name, least in facts.min_insync.items()
        if name not in impossible and facts.in_sync.get(name, least) < least
    ]
    findings = [
        _replication("warning", single, "one copy only on a cluster of many brokers", "move them to three copies"),
        _replication("wrong", impossible, "min.insync.replicas over the copies: no send succeeds", "lower it"),
        _replication("warning", lonely, "min.insync.replicas=1: an acknowledged order dies with one broker", "set 2"),
        _replication("warning", thin, "too few copies in sync: sends fail until more are", "look at the brokers"),
        _replication("warning", list(facts.leaderless), "partitions without leader", "look at the brokers"),
    ]
    return [finding for finding in findings if finding is not None] or [
        Finding(check="replication", level="ok", found=f"fits {len(facts.brokers)} broker(s)")
    ]


def _replication(level: Level, names: Sequence[str], found: str, remedy: str) -> Finding | None:
    if not names:
        return None
    return Finding(check="replication", level=level, found=f"{found} ({', '.join(sorted(names))})", remedy=remedy)
