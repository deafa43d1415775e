"""From halts and Risk's pulse to what may be traded."""

from enum import StrEnum

from messages.control import HaltLevel


class TradingState(StrEnum):
    """ACTIVE: all orders; REDUCING: only what brings the position nearer to zero; HALTED: none."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


STATES: dict[tuple[HaltLevel | None, bool], TradingState] = {
    (None, True): TradingState.ACTIVE,
    (None, False): TradingState.REDUCING,
    ("reducing", True): TradingState.REDUCING,
    ("reducing", False): TradingState.REDUCING,
    ("halted", True): TradingState.HALTED,
    ("halted", False): TradingState.HALTED,
}


def trading_state(halt_level: HaltLevel | None, risk_alive: bool) -> TradingState:
    """Return the state for the strictest Halt in force (None: none) and whether Risk's heartbeat is fresh."""
    return STATES[halt_level, risk_alive]
