"""The paper venue with a hundred resting orders, beside a loop that keeps the last quote of each instrument."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from agents.risk.instruments import Instrument
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from messages import Claim, Order, Quote, Record, decode, encode
from messages.orders import OrderMessage, Source
from tests.bench.risk.sampling import Size, rate_beside

Results = list[dict[str, Any]]
OPEN_ORDERS = 100
_LOW, _HIGH = 1_000, 1_006  # the bid walks between them, in whole price steps
_BEGIN_NS, _STEP_NS = 1_700_000_000_000_000_000, 1_000_000
BTC = Instrument(instrument="BTCUSDT", price_step=1.0, quantity_step=1.0, maker_fee_bps=1.0, taker_fee_bps=5.0)


def quotes(count: int) -> list[tuple[Record, Quote]]:
    """A market that walks between the resting buys and sells: at its ends they stand at the touch, none is filled."""
    chance, bid = random.Random(13), _LOW + 3
    found = []
    for offset in range(count):
        bid = min(_HIGH, max(_LOW, bid + chance.choice((-1, 0, 0, 1))))
        ts_ns = _BEGIN_NS + offset * _STEP_NS
        size = float(chance.randint(1, 50))
        quote = Quote(
            instrument="BTCUSDT", ts_recv=ts_ns, bid=float(bid), bid_size=size, ask=float(bid + 1), ask_size=size
        )
        found.append((_record("market", offset, ts_ns, encode(quote)), quote))
    return found


def crowded(market: Sequence[tuple[Record, Quote]]) -> PaperBook:
    """A book that has met the first quote, with the orders resting on both sides of the market, a step apart."""
    book = PaperBook(0, VenueConfig(latency_ns=0), {"BTCUSDT": BTC})
    orders: list[tuple[Record, OrderMessage]] = [(_record("orders", 0, _BEGIN_NS), Claim(owner="bench"))]
    for seq in range(OPEN_ORDERS):
        away = seq // 2
        is_buy = seq % 2 == 0
        order = Order(
            order_id=f"o{seq}",
            seq=seq,
            epoch=0,
            instrument="BTCUSDT",
            side="buy" if is_buy else "sell",
            quantity=5.0,
            order_type="limit",
            limit_price=float(_LOW - away if is_buy else _HIGH + 1 + away),
            time_in_force="GTC",
            strategy="s",
            bundle_id="b",
            source=Source(topic="market", partition=0, offset=0),
            ts_decided=_BEGIN_NS,
        )
        orders.append((_record("orders", seq + 1, _BEGIN_NS), order))
    book.market(*market[0])
    book.orders(orders)
    book.market(*market[1])
    if book.open_orders != OPEN_ORDERS:
        raise RuntimeError(f"{book.open_orders} orders rest, {OPEN_ORDERS} were meant to")
    return book


def results(size: Size) -> Results:
    """Lines of quotes that are decoded already, and of their bytes."""
    market = quotes(size.records)
    name = f"venue, one instrument, {OPEN_ORDERS} resting orders"
    return [
        rate_beside(
            f"{name}, decoded quotes", "quotes/s", lambda: _matching(market), lambda: _bare(market), size, least=100_000
        ),
        rate_beside(
            f"{name}, JSON of quotes decoded and met; baseline: decoded only",
            "quotes/s",
            lambda: _reading(market, crowded(market)),
            lambda: _reading(market, None),
            size,
            least=None,
        ),
    ]


def _matching(market: Sequence[tuple[Record, Quote]]) -> Callable[[], int]:
    book = crowded(market)

    def run() -> int:
        meet = book.market
        for record, quote in market[2:]:
            meet(record, quote)
        if book.open_orders != OPEN_ORDERS:
            raise RuntimeError(f"{book.open_orders} orders are left")
        return len(market) - 2

    return run


def _bare(market: Sequence[tuple[Record, Quote]]) -> Callable[[], int]:
    def run() -> int:
        last: dict[str, tuple[int, float, float]] = {}
        for record, quote in market:
            last[quote.instrument] = (record.offset, quote.bid, quote.ask)
        return len(market)

    return run


def _reading(market: Sequence[tuple[Record, Quote]], book: PaperBook | None) -> Callable[[], int]:
    def run() -> int:
        for record, _ in market[2:]:
            quote = decode("market", record.value)
            if book is not None and isinstance(quote, Quote):
                book.market(record, quote)
        return len(market) - 2

    return run


def _record(topic: str, offset: int, ts_ns: int, value: bytes | None = None) -> Record:
    return Record(topic=topic, partition=0, offset=offset, timestamp_ms=ts_ns // 1_000_000, key=b"BTCUSDT", value=value)
