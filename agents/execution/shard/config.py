"""What decisions depend on besides the bundle."""

from typing import Annotated

from msgspec import Meta, Struct

from agents.execution.shard.intake import DeadLetterLimits
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
