"""A bundle that decides beside the one that trades, and sends nothing. Pure.

It is asked as the live one is, by the same code: as a desk that differs in the bundle alone, with the same ring, market
and account. So what is logged of it is what it would have wanted from where the live one stands.
"""

import msgspec

from agents.execution.shard import hot_path
from agents.execution.shard.desk import Desk, Tick
from agents.execution.shard.step import ServingBundle
from messages import Decision, OutcomeCode
from messages.control_fold import ActiveBundle
from messages.decisions import BundleShadowed, ShadowDecision


def follow(desk: Desk, shadowed: BundleShadowed) -> None:
    """Begin, change or end the desk's shadow; what `control` said before the present one changes nothing."""
    if desk.shadow is not None and desk.shadow.offset >= shadowed.offset:
        return
    if shadowed.bundle_id is None or shadowed.sha256 is None:
        desk.shadow = None
        return
    desk.shadow = ActiveBundle(bundle_id=shadowed.bundle_id, sha256=shadowed.sha256, offset=shadowed.offset)
    desk.shadow_waited = desk.quotes_waited  # so that it is due when the live one is


def drop(desk: Desk, sha256: str) -> None:
    """Forget a bundle that can't be loaded: as the shadow, and as what the desk could fall back to."""
    if desk.shadow is not None and desk.shadow.sha256 == sha256:
        desk.shadow = None
    if desk.previous is not None and desk.previous.sha256 == sha256:
        desk.previous = None


def answer(desk: Desk, bundle: ServingBundle | None, message: Tick, now_ns: int) -> ShadowDecision | None:
    """Return what the desk's shadow answers to a market record that was taken in; None where it is not due."""
    if (shadow := desk.shadow) is None:
        return None
    alone = msgspec.structs.replace(
        desk,
        active=shadow,
        quotes_waited=desk.shadow_waited,
        override_lots=None,
        is_flattening=False,
        has_failed=False,
    )
    wish = hot_path.wish_for(alone, hot_path.question(alone, bundle, message, now_ns))
    if isinstance(wish, hot_path.Wish):
        return ShadowDecision(bundle_id=shadow.bundle_id, action=wish.decision.action, target=wish.lots)
    if wish.outcome is OutcomeCode.HOLD:
        return None
    error = wish.outcome.value if wish.denial is None else wish.denial.code.value
    return ShadowDecision(bundle_id=shadow.bundle_id, error=error)


def beside(desk: Desk, decision: Decision, answered: ShadowDecision | None) -> Decision:
    """Return the live decision with the shadow's answer beside it; alone on its desk it is the outcome `shadow`."""
    is_alone = desk.active is None and decision.outcome is OutcomeCode.NO_BUNDLE
    outcome = OutcomeCode.SHADOW if is_alone else decision.outcome
    return msgspec.structs.replace(decision, outcome=outcome, shadow=answered)
