"""What a step's inputs change: switches, bundles, shadows. Changes what it is given."""

from collections.abc import Mapping

from agents.execution.shard import shadow
from agents.execution.shard.desk import Desk, activate
from agents.execution.shard.switches import Switches
from agents.risk.gate import Gate
from messages.decisions import (
    BundleActivated,
    BundleShadowed,
    BundleUnavailable,
    ControlApplied,
    RiskAlive,
    StepInput,
)


def apply_input(applied: StepInput, desks: Mapping[str, Desk], switches: Switches, gate: Gate) -> None:
    """Take one input in."""
    match applied:
        case ControlApplied(offset=offset, message=message):
            switches.apply(offset, message, desks, gate)
        case BundleActivated():
            if (desk := desks.get(applied.instrument)) is not None:
                activate(desk, applied)
        case BundleShadowed():
            if (desk := desks.get(applied.instrument)) is not None:
                shadow.follow(desk, applied)
        case BundleUnavailable(sha256=sha256):
            for desk in desks.values():
                shadow.drop(desk, sha256)
        case RiskAlive(alive=alive):
            switches.risk_alive = alive
        case _:  # MarketGap is in the step's range, Timer is time alone
            pass
