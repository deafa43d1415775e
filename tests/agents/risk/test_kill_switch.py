"""Every combination of halt level and heartbeat has one state."""

import pytest

from agents.risk.kill_switch import TradingState, trading_state
from messages.control import HaltLevel


@pytest.mark.parametrize(
    ("level", "alive", "state"),
    [
        (None, True, "active"),
        (None, False, "reducing"),
        ("reducing", True, "reducing"),
        ("reducing", False, "reducing"),
        ("halted", True, "halted"),
        ("halted", False, "halted"),
    ],
)
def test_the_state_follows_from_halts_and_heartbeat(level: HaltLevel | None, alive: bool, state: str) -> None:
    assert trading_state(level, alive) is TradingState(state)
