"""Reference data guessed from market data, for files whose instruments are not in the settings."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from msgspec import Struct

from agents.feed.errors import FeedRefused
from agents.feed.grid import MAX_DECIMALS, decimals_of, step_of
from agents.risk.instruments import Instrument
from messages.market import Bar, MarketMessage, Quote, Trade


class FeesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What data can't tell: fees in basis points of the traded value (positive = paid) and the currency."""

    taker_fee_bps: float = 1.0
    maker_fee_bps: float = 0.0
    currency: str = "USD"


def infer_instruments(messages: Iterable[MarketMessage], fees: FeesConfig) -> list[Instrument]:
    """Return the reference data of every instrument with a price, in order of first appearance.

    A step is 10**-d, d the fewest decimals (at most 9) that write every price, or size, of the messages: never coarser
    than the venue's own step for the values seen, so that each lies on the grid, but it may be finer. The quantity
    step is made coarser where price_step x quantity_step would be finer than money's 1e-9.
    """
    prices: dict[str, list[float]] = defaultdict(list)
    sizes: dict[str, list[float]] = defaultdict(list)
    for message in messages:
        match message:
            case Quote():
                prices[message.instrument] += (message.bid, message.ask)
                sizes[message.instrument] += (message.bid_size, message.ask_size)
            case Trade():
                prices[message.instrument].append(message.price)
                sizes[message.instrument].append(message.size)
            case Bar():
                prices[message.instrument] += (message.open, message.high, message.low, message.close)
                sizes[message.instrument].append(message.volume)
    return [_instrument(name, values, sizes[name], fees) for name, values in prices.items()]


def infer_instrument(name: str, messages: Iterable[MarketMessage], fees: FeesConfig) -> Instrument:
    """Return the reference data of one instrument, as `infer_instruments`. Raises FeedRefused without a price of it."""
    found = infer_instruments((message for message in messages if message.instrument == name), fees)
    if not found:
        raise FeedRefused(f"no price of {name} to take its steps from; name it in the settings, instruments")
    return found[0]


def _instrument(name: str, prices: list[float], sizes: list[float], fees: FeesConfig) -> Instrument:
    price_decimals = decimals_of(np.asarray(prices))
    size_decimals = min(decimals_of(np.asarray(sizes)), MAX_DECIMALS - price_decimals)
    return Instrument(
        instrument=name,
        price_step=step_of(price_decimals),
        quantity_step=step_of(size_decimals),
        currency=fees.currency,
        taker_fee_bps=fees.taker_fee_bps,
        maker_fee_bps=fees.maker_fee_bps,
    )
