"""The registry of topics: creation, documentation and validation all come from this table."""

from typing import Literal

from msgspec import Struct

from messages.bundles import BundleReady
from messages.checkpoints import Checkpoint
from messages.control import Activate, Adjust, Flatten, Halt, Limits, LogStarted, Override, Resume, Rollout, Shadow
from messages.dead_letters import DeadLetter
from messages.decisions import DecisionBatch
from messages.errors import TopicMismatch
from messages.market import Bar, Observation, Quote, Trade
from messages.orders import Cancel, Claim, Order
from messages.reports import ExecutionReport
from messages.risk import Alert, RiskCheckpoint, RiskSnapshot
from messages.status import Heartbeat, Rejected, Staged, Swapped
from messages.training import TrainProgress, TrainRequest, TrainResult

Cleanup = Literal["delete", "compact"]
_FOREVER = -1
_WEEK_MS = 7 * 24 * 3600 * 1000


class Topic(Struct, frozen=True, kw_only=True):
    """One topic: who writes and reads it, what its key is, and how the broker keeps it.

    `sharded` topics have the cluster's fixed partition count N and belong together by partition number; all others
    have one partition. `retention_ms` of -1 keeps records for ever. `config` goes to the broker as it is.
    """

    name: str
    key: str
    messages: tuple[type[Struct], ...]
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    sharded: bool = False
    cleanup: Cleanup = "delete"
    retention_ms: int = _WEEK_MS
    config: dict[str, str] = {}

    def partitions(self, shards: int) -> int:
        """Return the number of partitions in a cluster of `shards` shards."""
        return shards if self.sharded else 1

    def broker_config(self) -> dict[str, str]:
        """Return the topic-level settings that the broker must have."""
        retention = {} if self.cleanup == "compact" else {"retention.ms": str(self.retention_ms)}
        return {"cleanup.policy": self.cleanup, **retention, **self.config}


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(
            name="market",
            key="instrument",
            messages=(Quote, Trade, Bar, Observation),
            written_by=("feeders",),
            read_by=("execution", "risk", "venue", "trainer"),
            sharded=True,
            config={"message.timestamp.type": "LogAppendTime"},
        ),
        Topic(
            name="orders",
            key="instrument",
            messages=(Order, Cancel, Claim),
            written_by=("execution",),
            read_by=("venue adapters", "risk", "execution"),
            sharded=True,
            # The paper venue holds a cancel's time against that of `market`: one clock for both.
            config={"message.timestamp.type": "LogAppendTime"},
        ),
        Topic(
            name="reports",
            key="instrument",
            messages=(ExecutionReport,),
            written_by=("venue adapters",),
            read_by=("execution", "risk", "venue adapters"),
            sharded=True,
        ),
        Topic(
            name="decisions",
            key="partition (explicit)",
            messages=(DecisionBatch, Claim),
            written_by=("execution",),
            read_by=("replay", "audit", "monitoring", "execution"),
            sharded=True,
        ),
        Topic(
            name="checkpoints",
            key="partition (explicit)",
            messages=(Checkpoint,),
            written_by=("execution",),
            read_by=("execution",),
            sharded=True,
            cleanup="compact",
            config={"segment.bytes": str(32 * 2**20), "segment.ms": str(3600 * 1000)},
        ),
        Topic(
            name="bundles",
            key="bundle id",
            messages=(BundleReady,),
            written_by=("trainer", "users"),
            read_by=("orchestrator", "console"),
            cleanup="compact",
        ),
        Topic(
            name="control",
            key="switch",
            messages=(LogStarted, Rollout, Activate, Shadow, Halt, Resume, Flatten, Override, Limits, Adjust),
            written_by=("orchestrator", "risk", "operators"),
            read_by=("all",),
            retention_ms=_FOREVER,
        ),
        Topic(
            name="status",
            key="agent id/type, and /digest for Staged, Swapped, Rejected",
            messages=(Heartbeat, Staged, Swapped, Rejected),
            written_by=("all",),
            read_by=("orchestrator", "execution", "risk", "console"),
            cleanup="compact",
        ),
        Topic(
            name="risk",
            key="RiskSnapshot: scope; Alert: alert id; RiskCheckpoint: checkpoint/agent id",
            messages=(RiskSnapshot, Alert, RiskCheckpoint),
            written_by=("risk", "execution", "orchestrator", "venue adapters"),
            read_by=("orchestrator", "risk", "console"),
            cleanup="compact",
            config={"segment.bytes": str(32 * 2**20), "segment.ms": str(3600 * 1000)},
        ),
        Topic(
            name="training",
            key="run id",
            messages=(TrainRequest, TrainProgress, TrainResult),
            written_by=("orchestrator", "users", "trainer"),
            read_by=("trainer", "orchestrator", "console"),
        ),
        Topic(
            name="dead-letters",
            key="source topic",
            messages=(DeadLetter,),
            written_by=("all",),
            read_by=("people",),
        ),
    )
}


def topic_named(name: str) -> Topic:
    """Return the registered topic. Raises TopicMismatch when there is none of that name."""
    try:
        return TOPICS[name]
    except KeyError:
        raise TopicMismatch(name, f"not a topic of tickpilot, which has {', '.join(sorted(TOPICS))}") from None
