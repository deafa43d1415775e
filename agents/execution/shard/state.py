"""A shard's state as it stands in checkpoints."""

import hashlib

import msgspec
from msgspec import Struct

from agents.execution.shard.account import OpenOrder
from agents.execution.shard.desk import Desk
from agents.execution.shard.intake import IntakeState
from agents.risk.gate import GateState
from agents.risk.ledger import LedgerState
from messages import Refused
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
    shadow: ActiveBundle | None = None
    shadow_waited: int = 0
    has_failed: bool = False
    target_lots: int | None = None


def state_of(desk: Desk) -> DeskState:
    """Return what a checkpoint holds of a desk."""
    return msgspec.convert(desk, DeskState, from_attributes=True)


def restore_desk(desk: Desk, state: DeskState) -> None:
    """Take a checkpoint's desk over; the ring and the account are not in it."""
    for field in DeskState.__struct_fields__:
        setattr(desk, field, getattr(state, field))


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
    intakes: dict[str, IntakeState] = {}


class StateUnreadable(Refused):
    """Raised when a checkpoint's state is not one of this version: recover from an older one, or from the log."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the state in the checkpoint can't be read: {detail}; recovery goes on without it")
        self.detail = detail


def encode_state(state: ShardState) -> bytes:
    """Return the state's bytes, equal for equal states. JSON: money in 1e-9 may need more than 64 bits."""
    return msgspec.json.encode(state)


def decode_state(content: bytes) -> ShardState:
    """Return the state in these bytes, or in the msgpack of earlier versions. Raises StateUnreadable."""
    try:
        if content.startswith(b"{"):
            return msgspec.json.decode(content, type=ShardState)
        return msgspec.msgpack.decode(content, type=ShardState)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        raise StateUnreadable(str(error) or type(error).__name__) from error


def state_digest(state: bytes) -> str:
    """Return the digest that a checkpoint of this state must carry."""
    return hashlib.blake2b(state, digest_size=32).hexdigest()


def is_readable(content: bytes) -> bool:
    """Whether `decode_state` can read it."""
    try:
        decode_state(content)
    except StateUnreadable:
        return False
    return True
