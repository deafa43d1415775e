"""Risk's checkpoint: the books as they are now, and whether one may be gone on from. Pure."""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from agents.risk.instruments import Instrument
from agents.risk.watch.portfolio import PortfolioState
from messages import Refused
from messages.risk import RiskCheckpoint


class _Contents(Struct, frozen=True, kw_only=True):
    """Whole lots and ticks mean nothing without the steps that they count."""

    steps: dict[str, tuple[float, float, float]]
    portfolio: PortfolioState


class CheckpointUnusable(Refused):
    """Raised when a checkpoint can't be gone on from: the books have to be rebuilt from all of `reports`."""

    def __init__(self, agent_id: str, detail: str) -> None:
        super().__init__(f"checkpoint of {agent_id}: {detail}; reading all of `reports` instead")
        self.agent_id, self.detail = agent_id, detail


def checkpoint_of(
    state: PortfolioState,
    instruments: Mapping[str, Instrument],
    *,
    agent_id: str,
    ts: int,
    control_to: int,
    reports_to: Sequence[int],
) -> RiskCheckpoint:
    """Return the checkpoint of a portfolio; offsets are the next ones to apply, of `reports` by partition."""
    held = {holding.instrument for holding in state.ledger.holdings}
    steps = {name: _steps(instruments[name]) for name in sorted(held)}
    content = msgspec.msgpack.encode(_Contents(steps=steps, portfolio=state))
    return RiskCheckpoint(
        agent_id=agent_id,
        ts=ts,
        control_to=control_to,
        reports_to=tuple(reports_to),
        state=content,
        digest=_digest(content),
    )


def state_in(checkpoint: RiskCheckpoint, instruments: Mapping[str, Instrument], partitions: int) -> PortfolioState:
    """Return the portfolio of a checkpoint. Raises CheckpointUnusable for one that is damaged or no longer fits."""
    name = checkpoint.agent_id
    if _digest(checkpoint.state) != checkpoint.digest:
        raise CheckpointUnusable(name, "does not match its digest")
    if len(checkpoint.reports_to) != partitions:
        raise CheckpointUnusable(name, f"is of {len(checkpoint.reports_to)} partitions, there are {partitions}")
    try:
        contents = msgspec.msgpack.decode(checkpoint.state, type=_Contents)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CheckpointUnusable(name, f"can't be read: {error}") from error
    for instrument, steps in contents.steps.items():
        known = instruments.get(instrument)
        if known is None or _steps(known) != steps:
            now = "no reference data" if known is None else f"steps {_steps(known)}"
            raise CheckpointUnusable(name, f"{instrument} had steps {steps} (price, quantity, multiplier), now {now}")
    return contents.portfolio


def _steps(instrument: Instrument) -> tuple[float, float, float]:
    return instrument.price_step, instrument.quantity_step, instrument.multiplier


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=32).hexdigest()
