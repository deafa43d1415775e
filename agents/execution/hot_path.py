"""One decision: observation, action, target, order, gate. READ THIS FIRST.

Nothing here awaits, reads a clock or moves state: `decide` returns what should happen, the shard applies it, so that
recovery can apply what the log says instead.
"""

from collections.abc import Callable

import numpy as np
from msgspec import Struct

from agents.execution.step import Desk, ServingBundle
from agents.risk.gate import Proposal
from bundles.features import Floats32
from messages import Decision, Denial, DenialCode, Observation, OutcomeCode, Refused

HOLD = Decision(outcome=OutcomeCode.HOLD)
OVERRIDE = Decision(outcome=OutcomeCode.OVERRIDE)
STALE = Decision(outcome=OutcomeCode.STALE)
CONFLATED = Decision(outcome=OutcomeCode.CONFLATED)
REFUSED = Decision(outcome=OutcomeCode.REFUSED)
NO_BUNDLE = Decision(outcome=OutcomeCode.NO_BUNDLE)
WARMING_UP = Decision(outcome=OutcomeCode.WARMING_UP)
POLICY_ERROR = Decision(outcome=OutcomeCode.DENIED, denial=Denial(code=DenialCode.POLICY_ERROR))


class Account(Struct, frozen=True, kw_only=True):
    """The position that a decision starts from. `effective_lots` counts what is in flight as filled."""

    position_lots: int
    effective_lots: int
    entry_price: float


class Wish(Struct, frozen=True, kw_only=True):
    """A wanted position and why: the policy's, a person's override, or flat."""

    lots: int
    decision: Decision
    is_reducing: bool = False


GateCheck = Callable[[Proposal], Denial | None]


def decide(
    desk: Desk, bundle: ServingBundle | None, message: object, account: Account, now_ns: int, check: GateCheck
) -> tuple[Decision, Proposal | None]:
    """Return what becomes of one market record of this desk: a decision, with an order to send or None."""
    wish = _wish(desk, bundle, message, account, now_ns)
    if isinstance(wish, Decision):
        return wish, None
    proposal = _toward(desk, bundle, wish, account)
    if proposal is None:
        return wish.decision, None
    denial = check(proposal)
    if denial is not None:
        return _denied(wish.decision, denial), None
    return _ordered(wish.decision), proposal


def _wish(desk: Desk, bundle: ServingBundle | None, message: object, account: Account, now_ns: int) -> Wish | Decision:
    if desk.is_flattening:
        return Wish(lots=0, decision=OVERRIDE, is_reducing=True)
    if desk.override_lots is not None:
        return Wish(lots=desk.override_lots, decision=OVERRIDE)
    if desk.active is None or bundle is None:
        return NO_BUNDLE
    if desk.quotes_waited < bundle.actions.decide_every:
        return HOLD
    observation = _observe(desk, bundle, message, account, now_ns)
    if observation is None:
        return HOLD if bundle.observer is None else WARMING_UP
    try:
        action = bundle.policy.act(observation)
        target = bundle.actions.to_target_lots(
            action, quantity_step=desk.instrument.quantity_step, current_lots=account.effective_lots
        )
    except Refused:
        return POLICY_ERROR
    is_held = target == account.effective_lots and bundle.actions.dead_band > 0
    outcome = OutcomeCode.DEAD_BAND if is_held and _wants_other(bundle, action, desk, account) else OutcomeCode.HOLD
    return Wish(lots=target, decision=Decision(outcome=outcome, action=action, target=target))


def _wants_other(bundle: ServingBundle, action: tuple[float, ...], desk: Desk, account: Account) -> bool:
    wanted = bundle.actions.fraction(action)
    if wanted is None:
        return False
    return int(wanted * bundle.actions.max_position / desk.instrument.quantity_step) != account.effective_lots


def _observe(desk: Desk, bundle: ServingBundle, message: object, account: Account, now_ns: int) -> Floats32 | None:
    if bundle.observer is None:
        return np.asarray(message.values, dtype=np.float32) if isinstance(message, Observation) else None
    out = np.empty(bundle.observer.size, dtype=np.float32)
    position = desk.instrument.quantity(account.position_lots) / bundle.actions.max_position
    held_ns = now_ns - desk.held_since_ns if account.position_lots else 0
    is_ready = bundle.observer.observe(desk.ring, out, position, _unrealized(desk, account), held_ns)
    return out if is_ready else None


def _unrealized(desk: Desk, account: Account) -> float:
    doubled = desk.mark_ticks_doubled
    if doubled is None or account.position_lots == 0 or account.entry_price <= 0:
        return 0.0
    change = doubled * 0.5 * desk.instrument.price_step / account.entry_price - 1.0
    return change if account.position_lots > 0 else -change


def _toward(desk: Desk, bundle: ServingBundle | None, wish: Wish, account: Account) -> Proposal | None:
    delta = wish.lots - account.effective_lots
    if delta == 0:
        return None
    offset = None if bundle is None or wish.is_reducing else bundle.actions.limit_offset(wish.decision.action)
    limit_ticks = None if offset is None else _limit_ticks(desk, delta, offset)
    return Proposal(
        instrument=desk.instrument.instrument,
        strategy=desk.strategy,
        side="buy" if delta > 0 else "sell",
        lots=abs(delta),
        order_type="market" if limit_ticks is None else "limit",
        limit_ticks=limit_ticks,
        reduce_only=wish.is_reducing,
    )


def _limit_ticks(desk: Desk, delta: int, offset_ticks: int) -> int | None:
    """At the touch that the order would take, moved into our favour by the offset; None: there is no reference."""
    touch, sign = (desk.ask_ticks, 1) if delta > 0 else (desk.bid_ticks, -1)
    return None if touch is None else touch - sign * offset_ticks


def _ordered(decision: Decision) -> Decision:
    return Decision(outcome=OutcomeCode.ORDER, action=decision.action, target=decision.target)


def _denied(decision: Decision, denial: Denial) -> Decision:
    return Decision(outcome=OutcomeCode.DENIED, denial=denial, action=decision.action, target=decision.target)
