"""Actions: always a whole number of lots, never beyond the maximum, never a surprise."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.actions import ActionError, ActionMapping

STEP = 0.01
LEVELS = ActionMapping(kind="levels", max_position=1.0, levels=(-1.0, 0.0, 0.5, 1.0))
OFFSETS = (None, -1, 0, 3)
HYBRID = ActionMapping(kind="hybrid", max_position=1.0, limit_offsets=OFFSETS)
PAIR = msgspec.structs.replace(LEVELS, limit_offsets=OFFSETS)
lots = st.integers(-1000, 1000)


def continuous(**changes: object) -> ActionMapping:
    return msgspec.structs.replace(ActionMapping(kind="continuous", max_position=1.0), **changes)


@pytest.mark.parametrize(("action", "expected"), [(0, -100), (1, 0), (2, 50), (3, 100)])
def test_a_level_is_a_fraction_of_the_maximum(action: int, expected: int) -> None:
    assert LEVELS.to_target_lots((float(action),), quantity_step=STEP, current_lots=0) == expected


@pytest.mark.parametrize("action", [(), (1.0, 2.0), (math.nan,), (math.inf,), (-1.0,), (4.0,), (1.5,)])
def test_an_action_without_meaning_is_refused(action: tuple[float, ...]) -> None:
    with pytest.raises(ActionError):
        LEVELS.to_target_lots(action, quantity_step=STEP, current_lots=0)


@pytest.mark.parametrize(
    "action", [(), (1.0,), (1.0, 0.5, 0.5), (1.0, math.nan), (math.nan, 0.5), (4.0, 0.5), (-1.0, 0.5), (0.5, 0.5)]
)
def test_a_hybrid_action_without_meaning_is_refused(action: tuple[float, ...]) -> None:
    with pytest.raises(ActionError):
        HYBRID.to_target_lots(action, quantity_step=STEP, current_lots=0)


@pytest.mark.parametrize("action", [(1.0,), (1.0, 4.0), (4.0, 1.0), (1.0, -1.0), (1.0, 0.5), (0.0, math.inf)])
def test_a_pair_of_indices_without_meaning_is_refused(action: tuple[float, ...]) -> None:
    with pytest.raises(ActionError):
        PAIR.to_target_lots(action, quantity_step=STEP, current_lots=0)


@given(index=st.integers(0, 3), fraction=st.floats(-2, 2), current=lots)
def test_the_fraction_of_a_hybrid_is_that_of_a_continuous_action(index: int, fraction: float, current: int) -> None:
    action = (float(index), fraction)
    found = HYBRID.to_target_lots(action, quantity_step=STEP, current_lots=current)
    assert found == continuous().to_target_lots((fraction,), quantity_step=STEP, current_lots=current)
    assert HYBRID.limit_offset(action) == OFFSETS[index]


@given(level=st.integers(0, 3), offset=st.integers(0, 3))
def test_of_two_indices_the_first_is_the_level_and_the_second_the_limit_offset(level: int, offset: int) -> None:
    action = (float(level), float(offset))
    found = PAIR.to_target_lots(action, quantity_step=STEP, current_lots=0)
    assert found == LEVELS.to_target_lots((float(level),), quantity_step=STEP, current_lots=0)
    assert PAIR.limit_offset(action) == OFFSETS[offset]


def test_where_the_policy_does_not_choose_the_mapping_has_one_limit_offset_for_all() -> None:
    limit = msgspec.structs.replace(LEVELS, order_type="limit", limit_offset_ticks=2)
    assert (limit.limit_offset((1.0,)), limit.limit_offset(None)) == (2, 2)
    assert (LEVELS.limit_offset((1.0,)), LEVELS.limit_offset(None)) == (None, None)
    assert HYBRID.limit_offset(None) is None


@pytest.mark.parametrize(
    ("mapping", "choices", "size"),
    [(LEVELS, (4,), 1), (continuous(), (), 1), (HYBRID, (4,), 2), (PAIR, (4, 4), 2)],
    ids=["levels", "continuous", "hybrid", "pair"],
)
def test_a_mapping_says_what_actions_it_takes(mapping: ActionMapping, choices: tuple[int, ...], size: int) -> None:
    mapping.check_consistent()
    assert (mapping.choices, mapping.size) == (choices, size)


@pytest.mark.parametrize(
    "contradiction",
    [
        ActionMapping(kind="hybrid", max_position=1.0),
        ActionMapping(kind="continuous", max_position=1.0, limit_offsets=(0,)),
        ActionMapping(kind="levels", max_position=1.0, limit_offsets=(0,), order_type="limit"),
        ActionMapping(kind="hybrid", max_position=1.0, limit_offsets=(0,), limit_offset_ticks=1),
    ],
)
def test_contradictions_are_refused(contradiction: ActionMapping) -> None:
    with pytest.raises(ActionError):
        contradiction.check_consistent()


mappings = st.builds(
    ActionMapping,
    kind=st.sampled_from(["continuous", "hybrid"]),
    max_position=st.floats(0.1, 100),
    dead_band=st.floats(0, 0.5),
    max_change=st.none() | st.floats(0.01, 50),
    limit_offsets=st.just(OFFSETS),
)


@given(mapping=mappings, fraction=st.floats(-1, 1), current=lots, step=st.sampled_from([1.0, 0.1, 0.01, 0.003]))
def test_asked_again_a_target_within_one_change_is_kept(
    mapping: ActionMapping, fraction: float, current: int, step: float
) -> None:
    chosen = mapping if mapping.kind == "hybrid" else msgspec.structs.replace(mapping, limit_offsets=())
    action = (1.0, fraction)[-chosen.size :]
    position, seen = current, set()
    while position not in seen:
        seen.add(position)
        position = chosen.to_target_lots(action, quantity_step=step, current_lots=position)
        assert abs(position) <= max(abs(current), chosen.max_position / step * (1 + 1e-12))
    assert chosen.to_target_lots(action, quantity_step=step, current_lots=position) == position


@given(action=st.floats(-2, 2), step=st.sampled_from([1.0, 0.1, 0.01, 0.003, 1e-8]), current=lots)
def test_target_never_exceeds_the_maximum(action: float, step: float, current: int) -> None:
    target = continuous(max_position=3.0).to_target_lots((action,), quantity_step=step, current_lots=current)
    assert isinstance(target, int)
    assert abs(target) * step <= 3.0 * (1 + 1e-12)


@given(action=st.floats(-1, 1))
def test_fractions_of_a_lot_are_cut_off_toward_zero(action: float) -> None:
    target = continuous().to_target_lots((action,), quantity_step=STEP, current_lots=0)
    assert abs(target) <= abs(action) * 100 * (1 + 1e-9) + 1e-9
    assert abs(action) * 100 - abs(target) < 1
    assert target == -continuous().to_target_lots((-action,), quantity_step=STEP, current_lots=0)


@given(action=st.floats(-1, 1), current=lots, dead_band=st.floats(0, 0.5))
def test_a_change_is_none_or_at_least_the_dead_band(action: float, current: int, dead_band: float) -> None:
    mapping = continuous(dead_band=dead_band)
    target = mapping.to_target_lots((action,), quantity_step=STEP, current_lots=current)
    assert target == current or abs(target - current) * STEP >= dead_band * (1 - 1e-12)


@given(action=st.floats(-1, 1), current=lots, max_change=st.floats(0.001, 0.5))
def test_no_change_exceeds_max_change(action: float, current: int, max_change: float) -> None:
    mapping = continuous(max_change=max_change)
    target = mapping.to_target_lots((action,), quantity_step=STEP, current_lots=current)
    assert abs(target - current) * STEP <= max_change * (1 + 1e-12)


@given(whole=st.integers(-1000, 1000))
def test_a_whole_lot_is_not_lost_to_rounding(whole: int) -> None:
    mapping = continuous(max_position=10.0)
    assert mapping.to_target_lots((whole / 1000,), quantity_step=0.01, current_lots=0) == whole


def test_a_quantity_step_of_zero_is_refused() -> None:
    with pytest.raises(ActionError):
        LEVELS.to_target_lots((1.0,), quantity_step=0.0, current_lots=0)


def test_mapping_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(LEVELS), type=ActionMapping) == LEVELS


@pytest.mark.parametrize("max_position", [1e17, 1e300])
def test_a_position_of_more_lots_than_can_be_counted_is_no_position(max_position: float) -> None:
    mapping = ActionMapping(kind="levels", max_position=max_position)
    with pytest.raises(ActionError, match=r"2\^53 lots"):
        mapping.to_target_lots((2.0,), quantity_step=1.0, current_lots=0)
