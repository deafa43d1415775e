"""Execution and Risk together: a closed repeated-execution throttle becomes a Halt that a person has to clear."""

import asyncio

from messages import Alert, Halt, Heartbeat, Limits
from tests.agents.execution.test_share_moves import WAIT_S, Cluster


def throttled(cluster: Cluster) -> list[bool]:
    """Whether a shard has closed its throttle, heartbeat by heartbeat."""
    beats = [beat for beat in cluster.said("status", Heartbeat, 1) if beat.shards]
    return [any(status.throttled for status in beat.shards) for beat in beats]


async def test_the_throttle_is_told_halted_by_risk_and_open_again_once_the_halt_stands_in_its_place() -> None:
    cluster = Cluster()
    await cluster.start()
    changes = {"defaults.max_repeated_executions": 1.0}
    cluster.control(Limits(version=1, changes=changes, who="ann", reason="test", ts=0))
    cluster.want("BTC", 2.0)
    await cluster.order()
    async with asyncio.timeout(WAIT_S):
        while not (seen := throttled(cluster)) or True not in seen or seen[-1]:
            cluster.quote()
            await cluster.clock.sleep(0.05)
    (halt,) = cluster.said("control", Halt, 1)
    assert (halt.scope, halt.level, halt.writer) == ("instrument:BTC", "halted", "risk-1")
    assert halt.reason.startswith("REPEATED_EXECUTION BTC")
    alerts = [alert for alert in cluster.said("risk", Alert, 1) if alert.code == "REPEATED_EXECUTION"]
    assert {alert.agent_id for alert in alerts} == {"risk-1", cluster.execution.agent_id}
    await cluster.stop()
