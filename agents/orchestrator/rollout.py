"""The life of a bundle, as a table. Pure.

Of the full road (shadow, canary) the plan `immediate` uses the direct way: live as soon as every replica has staged it.
"""

from enum import StrEnum

from msgspec import Struct

from messages.errors import Fatal


class RolloutState(StrEnum):
    """Where a bundle stands."""

    REGISTERED = "registered"
    LIVE = "live"
    RETIRED = "retired"
    ABORTED = "aborted"


class Trigger(StrEnum):
    """What moves a bundle."""

    STAGED_EVERYWHERE = "staged-everywhere"
    REJECTED = "rejected"
    REPLACED = "replaced"
    ROLLED_BACK = "rolled-back"


MOVES: dict[tuple[RolloutState, Trigger], RolloutState] = {
    (RolloutState.REGISTERED, Trigger.STAGED_EVERYWHERE): RolloutState.LIVE,
    (RolloutState.REGISTERED, Trigger.REJECTED): RolloutState.ABORTED,
    (RolloutState.REGISTERED, Trigger.ROLLED_BACK): RolloutState.ABORTED,
    (RolloutState.LIVE, Trigger.REPLACED): RolloutState.RETIRED,
    (RolloutState.LIVE, Trigger.ROLLED_BACK): RolloutState.RETIRED,
}


class IllegalMove(Fatal):
    """Raised when a bundle can't be moved so from where it stands."""

    def __init__(self, state: RolloutState, trigger: Trigger) -> None:
        super().__init__(f"a bundle that is {state} can't be {trigger}; see the table of moves in docs/architecture.md")
        self.state, self.trigger = state, trigger


def move(state: RolloutState, trigger: Trigger) -> RolloutState:
    """Return the next state. Raises IllegalMove for a pair that is not in the table."""
    try:
        return MOVES[state, trigger]
    except KeyError:
        raise IllegalMove(state, trigger) from None


class Candidate(Struct, frozen=True, kw_only=True):
    """A bundle that was accepted for a strategy."""

    strategy: str
    bundle_id: str
    sha256: str
    sequence: int
    instruments: tuple[str, ...]
    state: RolloutState = RolloutState.REGISTERED
