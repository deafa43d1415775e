"""Builders for the tests of the venue: records of `market` and `orders` with what matters filled in."""

from collections.abc import Iterable, Sequence
from typing import Any

from agents.risk.instruments import Instrument
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from messages import Cancel, Claim, ExecutionReport, Order, Quote, Record, Trade
from messages.market import MarketMessage
from messages.orders import OrderMessage, Source

BTC = Instrument(instrument="BTC", price_step=1.0, quantity_step=1.0, taker_fee_bps=10.0, maker_fee_bps=-5.0)
ETH = Instrument(instrument="ETH", price_step=0.1, quantity_step=1.0)
INSTRUMENTS = {"BTC": BTC, "ETH": ETH}
MS = 1_000_000
CONFIG = VenueConfig(latency_ns=5 * MS, trade_lag_ns=0)
Ordered = tuple[Record, OrderMessage]
Ticked = tuple[Record, MarketMessage]


def record(topic: str, offset: int, at_ms: int) -> Record:
    """A record without bytes: the book gets messages as they are."""
    return Record(topic=topic, partition=0, offset=offset, timestamp_ms=at_ms, key=None, value=None)


def quote(at_ms: int, bid: float = 99, ask: float = 101, size: float = 10, **changes: Any) -> Quote:
    fields: dict[str, Any] = {"instrument": "BTC", "bid": bid, "bid_size": size, "ask": ask, "ask_size": size}
    return Quote(ts_recv=at_ms * MS, **(fields | changes))


def trade(at_ms: int, price: float, size: float, **changes: Any) -> Trade:
    fields: dict[str, Any] = {"instrument": "BTC", "price": price, "size": size}
    return Trade(ts_recv=at_ms * MS, **(fields | changes))


def order(seq: int, at: int, **changes: Any) -> Order:
    """A market order to buy 5 unless told otherwise."""
    fields: dict[str, Any] = {
        "order_id": f"o{seq}",
        "seq": seq,
        "epoch": 0,
        "instrument": "BTC",
        "side": "buy",
        "quantity": 5.0,
        "order_type": "limit" if changes.get("limit_price") else "market",
        "time_in_force": "IOC",
        "strategy": "s",
        "bundle_id": "b",
        "source": Source(topic="market", partition=0, offset=at),
        "ts_decided": 0,
    }
    return Order(**(fields | changes))


def cancel(seq: int, order_id: str) -> Cancel:
    return Cancel(cancel_id=f"{order_id}-C", seq=seq, epoch=0, order_id=order_id, instrument="BTC", reason="r")


def ticks(*messages: MarketMessage) -> list[Ticked]:
    """Market records at offsets 0, 1, ..., taken in by the broker when they were received."""
    return [(record("market", n, message.ts_recv // MS), message) for n, message in enumerate(messages)]


def ordered(*messages: tuple[int, Order | Cancel]) -> list[Ordered]:
    """Order records (at_ms, message) behind a Claim at offset 0."""
    claim: list[Ordered] = [(record("orders", 0, 0), Claim(owner="e"))]
    return claim + [(record("orders", n + 1, at_ms), message) for n, (at_ms, message) in enumerate(messages)]


def run(
    orders: Sequence[Ordered], market: Iterable[Ticked], *, config: VenueConfig = CONFIG, book: PaperBook | None = None
) -> list[ExecutionReport]:
    """All reports when the book reads every order before the market."""
    book = book or PaperBook(0, config, INSTRUMENTS)
    reports = book.orders(orders)
    for market_record, message in market:
        reports += book.market(market_record, message)
    return reports


def statuses(reports: Iterable[ExecutionReport]) -> list[str]:
    return [report.status.value for report in reports]
