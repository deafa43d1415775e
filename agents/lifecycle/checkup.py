"""What a cluster's own words say about its health: judged here without any I/O, each with what a person should do.

`wrong` needs a person; a `warning` is worth knowing. Ages are of this machine's clock against the agents'.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from messages import Alert, DeadLetter, Heartbeat
from messages.bus.checks import Finding
from messages.control_fold import HaltInForce

SILENT_S = 10.0  # agents tell of themselves every second
_GONE_S = 24 * 3600.0  # whoever is silent for longer was taken away, or it would have been noticed
LETTERS_S = ALERTS_S = 3600.0  # so far back dead letters and alerts are of late
_SEVERITY = {"critical": 0, "warning": 1, "info": 2}
MAX_LAG = 10_000  # records: seconds of a busy market
_LATE_MS = 500.0
_NEEDED = {
    "execution": "nothing trades",
    "risk": "Execution only reduces positions",
    "orchestrator": "no bundle rolls out",
}
_START = "start it: `tickpilot run"


def judge_agents(heartbeats: Iterable[Heartbeat], now_ns: int) -> list[Finding]:
    """Say of each agent whether it is alive and how it is, and who is missing."""
    beats = sorted(heartbeats, key=lambda beat: beat.agent_id)
    findings = [finding for beat in beats for finding in _judge_agent(beat, now_ns)]
    kinds = {beat.agent for beat in beats}
    missing = [kind for kind in _NEEDED if kind not in kinds]
    return findings + [
        Finding(
            check=kind,
            level="warning",
            found=f"none has ever told of itself: {_NEEDED[kind]}",
            remedy=f"{_START} {kind}`",
        )
        for kind in missing
    ]


def _judge_agent(beat: Heartbeat, now_ns: int) -> list[Finding]:
    silent_s = _age_s(beat.ts, now_ns)
    if silent_s > SILENT_S:
        is_gone = silent_s > _GONE_S
        return [
            Finding(
                check=beat.agent_id,
                level="warning" if is_gone else "wrong",
                found=f"silent for {_duration(silent_s)}; it was {beat.state}",
                remedy="nothing to do if it was taken away" if is_gone else f"see its log, {_START} {beat.agent}`",
            )
        ]
    alive = Finding(
        check=beat.agent_id,
        level="ok" if beat.state == "live" or beat.agent == "trainer" else "warning",
        found=f"alive, {beat.state}" + (f", shards {_numbers(beat.partitions)}" if beat.partitions else ""),
    )
    return [alive, *_judge_clients(beat, now_ns), *_judge_loop(beat)]


def _judge_clients(beat: Heartbeat, now_ns: int) -> list[Finding]:
    findings = []
    for client in beat.clients:
        name = f"{beat.agent_id} {client.kind} {client.name}"
        if client.state == "stalled":
            found = f"stalled for {_duration(_age_s(client.since_ns, now_ns))}: {client.reason}"
            if client.kind == "owner":
                remedy = "its shard is taken over again by itself; restart the agent if this lasts"
            else:
                remedy = "it is rebuilt by itself; if this lasts, look at the brokers and restart the agent"
            findings.append(Finding(check=name, level="wrong", found=found, remedy=remedy))
        elif client.rebuilds:
            found = f"well, but was rebuilt {client.rebuilds} times"
            findings.append(
                Finding(check=name, level="warning", found=found, remedy="look at the brokers' log of that time")
            )
    return findings


def _judge_loop(beat: Heartbeat) -> list[Finding]:
    if beat.loop_late_ms is None or beat.loop_late_ms <= _LATE_MS:
        return []
    found = f"its event loop was late by {beat.loop_late_ms:.0f} ms"
    return [Finding(check=beat.agent_id, level="warning", found=found, remedy="give its machine more processor time")]


def judge_shards(heartbeats: Iterable[Heartbeat], shards: int, now_ns: int) -> list[Finding]:
    """Say which shards nobody trades, and which two replicas hold."""
    alive = [beat for beat in heartbeats if beat.agent == "execution" and _age_s(beat.ts, now_ns) <= SILENT_S]
    owners = Counter(partition for beat in alive for partition in beat.partitions)
    orphans = [partition for partition in range(shards) if partition not in owners]
    doubles = [partition for partition, count in sorted(owners.items()) if count > 1]
    findings = []
    if orphans:
        busy = any(beat.state != "live" for beat in alive)
        findings.append(
            Finding(
                check="shards",
                level="warning" if busy else "wrong",
                found=f"nobody trades {_numbers(orphans)} of {shards}",
                remedy="replicas are recovering; look again" if busy else f"{_START} execution`, or see its log",
            )
        )
    if doubles:
        found = f"two replicas say that they hold {_numbers(doubles)}"
        findings.append(
            Finding(check="shards", level="warning", found=found, remedy="a takeover is under way, or look again")
        )
    return findings or [Finding(check="shards", level="ok", found=f"all {shards} have an owner")]


def judge_lag(lag: Mapping[int, tuple[int | None, int]]) -> list[Finding]:
    """Judge how far Execution's group is behind on `market`: for each partition (committed or None, end)."""
    behind = {number: end - (committed or 0) for number, (committed, end) in lag.items()}
    total = sum(behind.values())
    if worst := [number for number, records in sorted(behind.items()) if records > MAX_LAG]:
        found = f"Execution is {total} records behind, most on partitions {_numbers(worst)}"
        remedy = "see whether its replicas are alive; more replicas share the work"
        return [Finding(check="market", level="wrong", found=found, remedy=remedy)]
    if total and all(committed is None for committed, _ in lag.values()):
        found = f"{total} records, and Execution has never committed any"
        return [Finding(check="market", level="warning", found=found, remedy=f"{_START} execution`")]
    return [Finding(check="market", level="ok", found=f"Execution is {total} records behind")]


def judge_letters(letters: Sequence[DeadLetter], now_ns: int) -> list[Finding]:
    """Say what could not be read of late, by topic, with the newest reason of each."""
    late = [letter for letter in letters if _age_s(letter.ts, now_ns) <= LETTERS_S]
    if not late:
        return [Finding(check="dead-letters", level="ok", found="none of late")]
    counts, newest = Counter(letter.topic for letter in late), {letter.topic: letter for letter in late}
    return [
        Finding(
            check="dead-letters",
            level="warning",
            found=f"at least {count} of {topic} within the hour, the newest {_place(newest[topic])}: "
            f"{newest[topic].reason}",
            remedy=f"correct whoever writes {topic}; the records are kept whole on dead-letters",
        )
        for topic, count in counts.most_common()
    ]


def recent_alerts(alerts: Iterable[Alert], now_ns: int) -> list[Alert]:
    """Return what was told within the last hour, the most severe first, of those the newest first.

    `alerts` in the order of the topic. Of those with one id the last counts: an end takes the place of its beginning.
    """
    newest = {alert.alert_id: alert for alert in alerts}
    late = [alert for alert in newest.values() if _age_s(alert.ts, now_ns) <= ALERTS_S]
    return sorted(late, key=lambda alert: (_SEVERITY[alert.severity], -alert.ts))


def alert_line(alert: Alert, now_ns: int) -> str:
    """Return an alert in one line."""
    return f"{alert.severity} {alert.code} {_duration(_age_s(alert.ts, now_ns))} ago by {alert.agent_id}: {alert.text}"


def judge_alerts(alerts: Iterable[Alert], now_ns: int) -> list[Finding]:
    """Say what agents have told within the hour and not taken back. Halts are judged by themselves."""
    open_ones = [alert for alert in recent_alerts(alerts, now_ns) if alert.severity != "info"]
    return [
        Finding(
            check=f"alert {alert.code}",
            level="wrong" if alert.severity == "critical" else "warning",
            found=alert_line(alert, now_ns).partition(" ")[2],
            remedy=f"docs/risk.md says what {alert.code} means and how it ends",
        )
        for alert in open_ones
    ] or [Finding(check="alerts", level="ok", found="none of late")]


def judge_halts(halts: Iterable[HaltInForce]) -> list[Finding]:
    """Every halt waits for a person."""
    return [
        Finding(
            check="halt",
            level="wrong",
            found=f"{halt.scope} is {halt.level} by {halt.writer}: {halt.reason}",
            remedy=f"when the cause is gone: `tickpilot resume --scope {halt.scope} --who YOU --reason WHY`",
        )
        for halt in halts
    ] or [Finding(check="halt", level="ok", found="nothing is halted")]


def _age_s(ts_ns: int, now_ns: int) -> float:
    return max(0.0, (now_ns - ts_ns) / 1e9)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _place(letter: DeadLetter) -> str:
    return f"{letter.topic}-{letter.partition} at {letter.offset}"
