"""Whatever happens, no limit is exceeded even if every order in flight fills at once, and an oracle always agrees."""

from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from messages import DenialCode
from tests.agents.risk.gate_world import BUNDLES, BYTES_A_MOVE, FILES, World

STEPS = 200_000
MOVES, ROUNDS, DAYS = 30, 40, 240
# What the gate can't say: the shard puts these in the place of one that it does.
NAMED_BY_THE_SHARD = {"REPORT_DISPUTED", "POLICY_ERROR", "RISK_AWAY", "BAD_INPUT"}
IMPOSSIBLE_HERE = {"UNKNOWN_INSTRUMENT"}


class Trading(RuleBasedStateMachine):
    """Days of trading, in portions of moves that Hypothesis can make simpler one by one."""

    steps = 0
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(file=st.integers(0, len(FILES) - 1), bundle=st.integers(0, len(BUNDLES) - 1))
    def begin(self, file: int, bundle: int) -> None:
        self.world.change(file, 0)
        self.world.change(bundle, 1)

    @rule(moves=st.binary(min_size=MOVES * BYTES_A_MOVE, max_size=MOVES * BYTES_A_MOVE))
    def play(self, moves: bytes) -> None:
        self.world.play(moves)

    def teardown(self) -> None:
        Trading.steps += self.world.steps
        Trading.seen += self.world.seen


@pytest.mark.timeout(600)  # a failure is made small before it is told
def test_no_limit_is_exceeded_and_the_oracle_agrees_on_every_verdict() -> None:
    run_state_machine_as_test(
        Trading,
        settings=settings(
            max_examples=DAYS, stateful_step_count=ROUNDS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert Trading.steps >= STEPS
    # The story is not one of orders that are all denied for the same reason.
    assert Trading.seen["PASSED"] >= STEPS / 100
    expected = {code.value for code in DenialCode} - NAMED_BY_THE_SHARD - IMPOSSIBLE_HERE
    assert {code for code in expected if Trading.seen[code] < 20} == set()
