"""Who counts as a replica, and who has staged what."""

from agents.orchestrator.fleet import Fleet
from messages import Heartbeat, RejectCode, Rejected, Staged

SHA = "a" * 64
SECOND = 1_000_000_000


def beat(agent_id: str, *staged: str) -> Heartbeat:
    return Heartbeat(agent_id=agent_id, agent="execution", ts=0, state="live", staged=staged)


def staged(agent_id: str) -> Staged:
    return Staged(agent_id=agent_id, strategy="s", bundle_id="b", sha256=SHA, ts=0, staging_ms=1.0)


def rejected(agent_id: str) -> Rejected:
    return Rejected(
        agent_id=agent_id, strategy="s", bundle_id="b", sha256=SHA, ts=0, code=RejectCode.UNSIGNED, detail="no"
    )


def test_no_replica_means_not_staged() -> None:
    fleet = Fleet(5_000)
    fleet.apply(staged("e1"), 0)
    assert not fleet.has_staged_everywhere(SHA, 0)


def test_every_live_replica_must_have_staged_it() -> None:
    fleet = Fleet(5_000)
    for agent_id in ("e1", "e2"):
        fleet.apply(beat(agent_id), 0)
    fleet.apply(staged("e1"), 0)
    assert not fleet.has_staged_everywhere(SHA, 0)
    fleet.apply(staged("e2"), 0)
    assert fleet.has_staged_everywhere(SHA, 0)


def test_a_silent_replica_is_not_waited_for() -> None:
    fleet = Fleet(5_000)
    fleet.apply(beat("e1"), 0)
    fleet.apply(beat("e2", SHA), 4 * SECOND)
    assert not fleet.has_staged_everywhere(SHA, 4 * SECOND)
    assert fleet.has_staged_everywhere(SHA, 6 * SECOND)


def test_a_replica_restarted_under_its_name_has_to_stage_again() -> None:
    fleet = Fleet(5_000)
    fleet.apply(beat("e1", SHA), 0)
    fleet.apply(beat("e1"), SECOND)
    assert not fleet.has_staged_everywhere(SHA, SECOND)


def test_a_refusal_counts_until_its_replica_stages_or_falls_silent() -> None:
    fleet = Fleet(5_000)
    fleet.apply(beat("e1"), 0)
    fleet.apply(rejected("e1"), 0)
    assert fleet.rejection(SHA, 0) is not None
    assert fleet.rejection(SHA, 6 * SECOND) is None
    fleet.apply(beat("e1"), 6 * SECOND)
    fleet.apply(staged("e1"), 6 * SECOND)
    assert fleet.rejection(SHA, 6 * SECOND) is None
