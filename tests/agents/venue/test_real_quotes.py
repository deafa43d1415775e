"""On real quotes and trades luck alone loses its half spreads and fees, and who rests is hit when it hurts."""

import itertools
import random
from bisect import bisect_right
from functools import cache

import pytest
from msgspec.structs import replace

from agents.feed.instruments import FeesConfig, infer_instruments
from agents.feed.tabular import TabularSource
from agents.risk.instruments import Instrument
from agents.risk.ledger import Ledger
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from messages import Cancel, ExecutionReport, Order, Quote
from messages.market import MarketMessage
from tests.agents.venue.market import MS, cancel, order, ordered, record
from tests.builders import data_dir

FILES = [data_dir() / f"binance_spot_btcusdt_20240808_09_{kind}.csv.gz" for kind in ("quotes", "trades")]
RECORDS = 30_000
QUANTITY = 0.00002  # nearly always to be had whole

pytestmark = pytest.mark.skipif(
    not all(path.exists() for path in FILES), reason=f"no market data in {data_dir()}; set TICKPILOT_DATA"
)


@cache
def market() -> tuple[MarketMessage, ...]:
    source = TabularSource([str(path) for path in FILES])
    return tuple(replace(message, instrument="BTC") for message in itertools.islice(source, RECORDS))


@cache
def instrument() -> Instrument:
    quotes = [message for message in market() if isinstance(message, Quote)]
    return replace(infer_instruments(quotes, FeesConfig())[0], taker_fee_bps=7.5, maker_fee_bps=1.0)


class Trader:
    """Sends to a book of its own."""

    def __init__(self) -> None:
        self.book = PaperBook(0, VenueConfig(), {"BTC": instrument()})
        self.reports: list[ExecutionReport] = self.book.orders(ordered())
        self.seq = 0

    def send(self, message: Order | Cancel, at_ms: int) -> None:
        self.seq += 1
        self.reports += self.book.orders([(record("orders", self.seq, at_ms), message)])

    def see(self, offset: int, message: MarketMessage) -> None:
        self.reports += self.book.market(record("market", offset, message.ts_recv // MS), message)

    def fills(self) -> list[ExecutionReport]:
        return [report for report in self.reports if report.last_quantity is not None]


def flip_coins(seed: int, *, mirrored: bool) -> Trader:
    """In and out again by market orders; the mirror of a trader does the opposite at the same times."""
    rng, trader, held = random.Random(seed), Trader(), 0
    for offset, message in enumerate(market()):
        trader.see(offset, message)
        if offset % 50 == 0:
            side = 1 if held < 0 else -1 if held > 0 else rng.choice((1, -1))
            held += side
            name = "buy" if (side > 0) is not mirrored else "sell"
            sent = order(trader.seq, offset, side=name, quantity=QUANTITY, ts_decided=message.ts_recv)
            trader.send(sent, message.ts_recv // MS)
    return trader


def result(trader: Trader) -> tuple[float, float]:
    """What it lost, and what it had to lose on average: half the spread of each fill, and the fees."""
    quotes = [message for message in market() if isinstance(message, Quote)]
    by_time = {quote.ts_recv: quote for quote in reversed(quotes)}
    ledger, half_spreads = Ledger({"BTC": instrument()}), 0.0
    for report in trader.reports:
        ledger.apply(report)
    for fill in trader.fills():
        quote = by_time[fill.ts_event]
        half_spreads += (fill.last_quantity or 0.0) * (quote.ask - quote.bid) / 2
    ledger.mark("BTC", instrument().ticks(quotes[-1].bid) or 0)
    return -ledger.equity_nanos() / 1e9, half_spreads + ledger.fee_nanos() / 1e9


def test_random_trades_lose_their_half_spreads_and_fees() -> None:
    lost, due = zip(*(result(flip_coins(1, mirrored=mirrored)) for mirrored in (False, True)), strict=True)
    # A trader and its mirror hold opposite positions: what the price does falls out, the costs remain.
    assert sum(lost) == pytest.approx(sum(due), rel=0.001)
    # One alone is lucky or not; at these fees that is little.
    assert list(lost) == pytest.approx(list(due), rel=0.02)
    assert min(due) > 0.5


def test_random_resting_orders_are_filled_when_the_price_goes_against_them() -> None:
    rng, trader, resting = random.Random(1), Trader(), ""
    newest: Quote | None = None
    for offset, message in enumerate(market()):
        trader.see(offset, message)
        newest = message if isinstance(message, Quote) else newest
        if offset % 60 or newest is None:
            continue
        at_ms = message.ts_recv // MS
        if resting:
            trader.send(cancel(trader.seq, resting), at_ms)
        side = rng.choice(("buy", "sell"))
        touch = newest.bid if side == "buy" else newest.ask
        changes = {"side": side, "quantity": QUANTITY, "limit_price": touch, "time_in_force": "GTX"}
        sent = order(trader.seq, offset, ts_decided=message.ts_recv, **changes)
        trader.send(sent, at_ms)
        resting = sent.order_id
    fills = trader.fills()
    assert len(fills) > 50
    quotes = [message for message in market() if isinstance(message, Quote)]
    times = [quote.ts_recv for quote in quotes]

    def gain(fill: ExecutionReport, after_ns: int) -> float:
        quote = quotes[bisect_right(times, fill.ts_event + after_ns) - 1]
        return ((quote.bid + quote.ask) / 2 - (fill.last_price or 0.0)) * (1 if fill.side == "buy" else -1)

    at_once, a_second_later = (sum(gain(fill, after) for fill in fills) for after in (0, 1_000 * MS))
    assert a_second_later < at_once < 0
