import pytest

from agents.feed.errors import FeedRefused
from agents.feed.instruments import FeesConfig, infer_instrument, infer_instruments
from agents.feed.synthetic import SyntheticConfig, SyntheticSource, synthetic_instruments
from messages import Quote, Trade

FEES = FeesConfig(taker_fee_bps=0.15, maker_fee_bps=-0.05)


def quote(bid: float, ask: float, size: float = 1.0, name: str = "A") -> Quote:
    return Quote(instrument=name, ts_recv=0, bid=bid, bid_size=size, ask=ask, ask_size=size)


def test_steps_are_the_decimals_seen() -> None:
    found = infer_instrument("A", [quote(39432.99, 39433.6, 0.0031), quote(1.0, 2.0, 0.066851)], FEES)
    assert (found.price_step, found.quantity_step) == (0.01, 0.000001)
    assert (found.taker_fee_bps, found.maker_fee_bps) == (0.15, -0.05)


def test_binary_rounding_noise_is_no_digit() -> None:
    trade = Trade(instrument="A", ts_recv=0, price=100.5, size=0.00031099999999999997)
    assert infer_instrument("A", [trade], FEES).quantity_step == 0.000001


def test_whole_numbers_give_whole_steps() -> None:
    found = infer_instrument("A", [quote(100, 200, 7)], FEES)
    assert (found.price_step, found.quantity_step) == (1.0, 1.0)


def test_money_stays_a_whole_number_of_nanos() -> None:
    found = infer_instrument("A", [quote(1.12345, 1.12346, 0.12345678)], FEES)
    assert (found.price_step, found.quantity_step) == (0.00001, 0.0001)
    assert found.nanos_per_tick_lot == 1


def test_the_synthetic_grids_are_found_again() -> None:
    found = infer_instruments(SyntheticSource(SyntheticConfig(ticks=3_000)), FEES)
    grids = [(i.instrument, i.price_step, i.quantity_step) for i in sorted(found, key=lambda i: i.instrument)]
    assert grids == [(i.instrument, i.price_step, i.quantity_step) for i in synthetic_instruments()]


def test_an_instrument_without_a_price_is_refused() -> None:
    with pytest.raises(FeedRefused, match="no price of B"):
        infer_instrument("B", [quote(1, 2)], FEES)
