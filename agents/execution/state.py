"""A shard's state as it stands in checkpoints."""

import hashlib

from msgspec import Struct

from agents.execution.orders import OpenOrder
from agents.risk.gate import GateState
from agents.risk.ledger import LedgerState
from messages.control_fold import ActiveBundle, HaltState


class DeskState(Struct, frozen=True, kw_only=True):
    """A desk in a checkpoint: all but the ring, which is refilled from `market`."""

    bid_ticks: int | None
    ask_ticks: int | None
    reference_ns: int
    active: ActiveBundle | None
    previous: ActiveBundle | None
    override_lots: int | None
    quotes_waited: int
    policy_errors: int
    is_disputed: bool
    held_since_ns: int
    source: int
    orders_of_source: int


class ShardState(Struct, frozen=True, kw_only=True):
    """Everything that later steps depend on, but for the rings."""

    log_id: str
    next_seq: int
    control_to: int
    risk_alive: bool
    flattening: tuple[str, ...]
    limit_changes: dict[str, float]
    age_floor_ns: int | None
    ledger: LedgerState
    gate: GateState
    halts: HaltState
    open_orders: tuple[OpenOrder, ...]
    desks: dict[str, DeskState]


def state_digest(state: bytes) -> str:
    """Return the digest that a checkpoint of this state must carry."""
    return hashlib.blake2b(state, digest_size=32).hexdigest()
