"""Execution's settings."""

from typing import Annotated

from msgspec import Meta, Struct

from agents.execution.intake import DeadLetterLimits
from bundles.runtimes.choice import DEFAULT_RUNTIME, RuntimeName

Milliseconds = Annotated[int, Meta(gt=0)]


class DecisionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decisions depend on besides the bundle: part of a recording, so that replay decides alike.

    `max_decision_age_ms`: no decision on an older record. `order_timeout_ms`: an order without answer is cancelled.
    `max_policy_errors`: as many in a row bring the fallback. `conflate`: decide only the newest record of an instrument
    in a step. `runtime`: what runs the policies; `mlp` is faster than `torchscript` and refuses what is no chain of
    layers. `dead_letters`: how much of `market` or `reports` may be unreadable before only exits pass.
    """

    max_decision_age_ms: Milliseconds = 1_000
    order_timeout_ms: Milliseconds = 5_000
    max_policy_errors: Annotated[int, Meta(ge=1)] = 5
    conflate: bool = True
    runtime: RuntimeName = DEFAULT_RUNTIME
    dead_letters: DeadLetterLimits = DeadLetterLimits()


class ExecutionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the shell runs. Times in ms; `outbox` counts batches of orders, `checkpoint_records` market records.

    `static_membership`: a replica that is restarted under its agent id within the session keeps its shards and moves
    nobody else's; one that is stopped for good leaves them alone for so long.
    `keep_warm_ms`: while no market record comes, a decision is rehearsed so often, for about a twentieth of a core;
    0: never.
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
    decisions: DecisionConfig = DecisionConfig()
