"""Execution's settings."""

from typing import Annotated

from msgspec import Meta, Struct

from agents.execution.shard.config import DecisionConfig, Milliseconds


class ExecutionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the shell runs. Times in ms; `outbox` counts batches of orders, `checkpoint_records` market records.

    `static_membership`: a replica that is restarted under its agent id within the session keeps its shards and moves
    nobody else's; one that is stopped for good leaves them alone for so long.
    `keep_warm_ms`: while no market record comes a decision is rehearsed so often, for a tenth of a core; 0: never.
    `busy_poll`: between rehearsals the loop asks for records without a pause, for a whole core: the processor does not
    fall asleep, and a sparse feed is decided on as fast as a dense one.
    """

    group: str = "execution"
    static_membership: bool = False
    flush_interval_ms: Milliseconds = 100
    checkpoint_interval_ms: Milliseconds = 5_000
    checkpoint_records: Annotated[int, Meta(gt=0)] = 50_000
    risk_timeout_ms: Milliseconds = 5_000
    timer_interval_ms: Milliseconds = 500
    heartbeat_interval_ms: Milliseconds = 1_000
    outbox: Annotated[int, Meta(gt=0)] = 256
    staging_timeout_ms: Milliseconds = 20_000
    drain_timeout_ms: Milliseconds = 4_000
    keep_warm_ms: Annotated[int, Meta(ge=0)] = 1
    busy_poll: bool = False
    decisions: DecisionConfig = DecisionConfig()
