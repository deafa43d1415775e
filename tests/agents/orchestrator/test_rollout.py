"""The table of a bundle's life, every pair of it."""

import itertools

import pytest

from agents.orchestrator.rollout import MOVES, IllegalMove, RolloutState, Trigger, move

PAIRS = list(itertools.product(RolloutState, Trigger))


@pytest.mark.parametrize(("state", "trigger"), PAIRS)
def test_a_pair_moves_as_the_table_says_or_not_at_all(state: RolloutState, trigger: Trigger) -> None:
    if (state, trigger) in MOVES:
        assert move(state, trigger) is MOVES[state, trigger]
    else:
        with pytest.raises(IllegalMove):
            move(state, trigger)


def test_nothing_leaves_an_end_state() -> None:
    assert not [state for state, _ in MOVES if state in {RolloutState.ABORTED, RolloutState.RETIRED}]
