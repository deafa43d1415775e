"""Reference data: the grid, and money that is exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import SettingsError
from agents.risk.instruments import Instrument, instruments_by_name
from tests.agents.risk.market import BTC, ETH


@pytest.mark.parametrize(
    ("value_nanos", "taker", "maker"),
    [(0, 0, 0), (10_000, 1, 0), (10_001, 2, 0), (-10_001, 2, 0), (20_000, 2, -1), (39_999, 4, -1), (40_000, 4, -2)],
)
def test_fees_are_rounded_up_and_rebates_down_never_in_our_favour(value_nanos: int, taker: int, maker: int) -> None:
    assert BTC.fee_nanos(value_nanos, is_maker=False) == taker
    assert BTC.fee_nanos(value_nanos, is_maker=True) == maker


@given(st.integers(1, 10**9))
def test_steps_and_floats_name_the_same_price_and_quantity(steps: int) -> None:
    assert ETH.ticks(ETH.price(steps)) == steps
    assert ETH.lots(ETH.quantity(steps)) == steps
    assert ETH.price(steps) == float(f"{steps // 100}.{steps % 100:02}")


def test_what_is_between_two_steps_is_on_no_grid() -> None:
    assert BTC.ticks(100.25) is None
    assert BTC.lots(0.015) is None


def test_a_value_is_exact_in_billionths() -> None:
    assert BTC.value_nanos(201, 3) == 3_015_000_000
    assert BTC.value_nanos(201, -3) == -3_015_000_000


def test_doubles_mixed_currencies_and_steps_too_fine_are_refused() -> None:
    with pytest.raises(SettingsError, match="BTC is there twice"):
        instruments_by_name([BTC, BTC])
    with pytest.raises(SettingsError, match="EUR, USD"):
        instruments_by_name([BTC, Instrument(instrument="DAX", price_step=1, quantity_step=1, currency="EUR")])
    with pytest.raises(SettingsError, match="finer than 1e-9"):
        instruments_by_name([Instrument(instrument="FINE", price_step=1e-5, quantity_step=1e-5)])
