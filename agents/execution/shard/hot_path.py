"""One decision, stage by stage: question, answer, wish, proposal. READ THIS FIRST.

Nothing here awaits, reads a clock or moves state: each stage returns what should happen, the shard applies it, so that
recovery can apply what the log says instead.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from agents.execution.shard.account import Account
from agents.execution.shard.desk import Desk
from agents.execution.shard.step import ServingBundle
from agents.risk.gate import Proposal
from bundles.features import Floats32
from bundles.runtimes.protocol import BATCH_SIZES
from messages import Decision, Denial, DenialCode, Observation, OutcomeCode, Refused

HOLD = Decision(outcome=OutcomeCode.HOLD)
STALE = Decision(outcome=OutcomeCode.STALE)
CONFLATED = Decision(outcome=OutcomeCode.CONFLATED)
REFUSED = Decision(outcome=OutcomeCode.REFUSED)
NO_BUNDLE = Decision(outcome=OutcomeCode.NO_BUNDLE)
WARMING_UP = Decision(outcome=OutcomeCode.WARMING_UP)
POLICY_ERROR = Decision(outcome=OutcomeCode.DENIED, denial=Denial(code=DenialCode.POLICY_ERROR))


class Wish(Struct, frozen=True, kw_only=True):
    """A wanted position and why: the policy's, a person's override, or, `is_reducing`, the way out to zero."""

    lots: int
    decision: Decision
    is_reducing: bool = False


class Asked(Struct, frozen=True):
    """An observation that a policy is to be asked about, float32 [n]."""

    bundle: ServingBundle
    observation: Floats32


Action = tuple[float, ...]
Question = Asked | Wish | Decision
MAX_BATCH = BATCH_SIZES[-1]
FLATTEN = Wish(lots=0, decision=Decision(outcome=OutcomeCode.OVERRIDE, target=0), is_reducing=True)
GIVEN_UP = Wish(
    lots=0, decision=Decision(outcome=OutcomeCode.DENIED, denial=POLICY_ERROR.denial, target=0), is_reducing=True
)


def question(desk: Desk, bundle: ServingBundle | None, message: object, now_ns: int) -> Question:
    """Return what the policy is to be asked, or what follows without asking it."""
    if desk.is_flattening:
        return FLATTEN
    if desk.override_lots is not None:
        decision = Decision(outcome=OutcomeCode.OVERRIDE, target=desk.override_lots)
        return Wish(lots=desk.override_lots, decision=decision)
    if desk.has_failed:
        return GIVEN_UP
    if desk.active is None or bundle is None:
        return NO_BUNDLE
    if desk.quotes_waited < bundle.actions.decide_every:
        return HOLD
    if bundle.observer is None:
        if not isinstance(message, Observation):
            return HOLD
        return Asked(bundle, np.asarray(message.values, dtype=np.float32))
    account, out = desk.account, np.empty(bundle.observer.size, dtype=np.float32)
    position, unrealized, held_ns = 0.0, 0.0, 0
    if account.position_lots:
        position = desk.instrument.quantity(account.position_lots) / bundle.actions.max_position
        unrealized, held_ns = _unrealized(desk, account), now_ns - desk.held_since_ns
    try:
        is_ready = bundle.observer.observe(desk.ring, out, position, unrealized, held_ns)
    except Refused:  # a user's own feature
        return POLICY_ERROR
    return Asked(bundle, out) if is_ready else WARMING_UP


def wish_for(desk: Desk, asked: Question) -> Wish | Decision:
    """Return what follows from a question; the policy is asked."""
    if not isinstance(asked, Asked):
        return asked
    return _wish_of(desk, asked.bundle, _answer(asked.bundle, asked.observation))


def wishes_for(due: Sequence[tuple[Desk, Question]]) -> list[Wish | Decision]:
    """Return what follows from several questions; each policy is asked all of its own together.

    The bits of a batch's answers may differ from those of single ones, so that replay has to ask the same together:
    which they are is a function of the step.
    """
    together: dict[str, list[Asked]] = {}
    for _, asked in due:
        if isinstance(asked, Asked):
            together.setdefault(asked.bundle.sha256, []).append(asked)
    answers = {digest: iter(_answers(group)) for digest, group in together.items()}
    return [
        _wish_of(desk, asked.bundle, next(answers[asked.bundle.sha256])) if isinstance(asked, Asked) else asked
        for desk, asked in due
    ]


def _answer(bundle: ServingBundle, observation: Floats32) -> Action | None:
    """Return the policy's action; None when it fails."""
    try:
        return bundle.policy.act(observation)
    except Refused:
        return None


def _answers(group: Sequence[Asked]) -> Iterator[Action | None]:
    """Yield one policy's actions; in batches padded to 8 or 32, each alone when a batch fails."""
    bundle = group[0].bundle
    for low in range(0, len(group), MAX_BATCH):
        some = [asked.observation for asked in group[low : low + MAX_BATCH]]
        if len(some) > 1 and bundle.is_batched:
            size = next(size for size in BATCH_SIZES if size >= len(some))
            try:
                batch = bundle.policy.act_batch(np.stack([*some, *[some[-1]] * (size - len(some))]))
            except Refused:
                pass
            else:
                yield from batch[: len(some)]
                continue
        yield from (_answer(bundle, observation) for observation in some)


def _wish_of(desk: Desk, bundle: ServingBundle, action: Action | None) -> Wish | Decision:
    if action is None:
        return POLICY_ERROR
    effective = desk.account.effective_lots
    try:
        target = bundle.actions.to_target_lots(
            action, quantity_step=desk.instrument.quantity_step, current_lots=effective
        )
    except Refused:
        return POLICY_ERROR
    outcome = OutcomeCode.HOLD
    if target == effective and bundle.actions.dead_band > 0 and _wants_other(bundle, action, desk):
        outcome = OutcomeCode.DEAD_BAND
    return Wish(lots=target, decision=Decision(outcome=outcome, action=action, target=target))


def proposal_for(desk: Desk, bundle: ServingBundle | None, wish: Wish) -> Proposal | None:
    """Return the order that takes the desk from all it has, in flight included, to the wish.

    None: it is there, or an order that may rest stands against it: that one is cancelled first.
    """
    account = desk.account
    delta = wish.lots - account.effective_lots
    if delta == 0:
        return None
    if (account.sell_lots if delta > 0 else account.buy_lots) and bundle is not None and bundle.actions.may_rest:
        return None
    offset = None if bundle is None else bundle.actions.limit_offset(wish.decision.action)
    limit_ticks = None if offset is None else _limit_ticks(desk, delta, offset)
    return Proposal(
        instrument=desk.instrument.instrument,
        strategy=desk.strategy,
        side="buy" if delta > 0 else "sell",
        lots=abs(delta),
        order_type="market" if limit_ticks is None else "limit",
        limit_ticks=limit_ticks,
    )


def way_out(desk: Desk) -> Proposal | None:
    """Return the order that takes the position to zero, less what is on its way there. None: nothing is missing.

    It waits for no cancel: what is open against it may have been lost on the way to the venue.
    """
    account = desk.account
    position = account.position_lots
    lots = position - account.sell_lots if position > 0 else -position - account.buy_lots
    if lots <= 0:
        return None
    return Proposal(
        instrument=desk.instrument.instrument,
        strategy=desk.strategy,
        side="sell" if position > 0 else "buy",
        lots=lots,
        reduce_only=True,
    )


def ordered(decision: Decision) -> Decision:
    """Return the decision that became an order."""
    return Decision(outcome=OutcomeCode.ORDER, action=decision.action, target=decision.target)


def denied(decision: Decision, denial: Denial) -> Decision:
    """Return the decision whose order was denied."""
    return Decision(outcome=OutcomeCode.DENIED, denial=denial, action=decision.action, target=decision.target)


def _wants_other(bundle: ServingBundle, action: Action, desk: Desk) -> bool:
    wanted = bundle.actions.fraction(action)
    if wanted is None:
        return False
    return int(wanted * bundle.actions.max_position / desk.instrument.quantity_step) != desk.account.effective_lots


def _unrealized(desk: Desk, account: Account) -> float:
    doubled = desk.mark_ticks_doubled
    if doubled is None or account.entry_price <= 0:
        return 0.0
    change = doubled * 0.5 * desk.instrument.price_step / account.entry_price - 1.0
    return change if account.position_lots > 0 else -change


def _limit_ticks(desk: Desk, delta: int, offset_ticks: int) -> int | None:
    """At the touch that the order would take, moved into our favour by the offset; None: there is no reference."""
    touch, sign = (desk.ask_ticks, 1) if delta > 0 else (desk.bid_ticks, -1)
    return None if touch is None else touch - sign * offset_ticks
