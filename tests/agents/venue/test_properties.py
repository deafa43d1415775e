"""Whatever the market and the orders: the same reports however the venue lags and dies, and no fill too good."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction

from messages import Bar, ExecutionReport, Quote, Trade
from messages.market import MarketMessage
from tests.agents.venue.market import INSTRUMENTS, run
from tests.agents.venue.scripts import Script, Venue, by_order, random_script


def all_reports(script: Script) -> list[ExecutionReport]:
    """What a venue says that reads every order before the market."""
    return run(script.orders, script.market, config=script.config)


def all_scripts(count: int, **changes: Sequence[str]) -> Iterator[tuple[int, Script]]:
    for seed in range(count):
        yield seed, random_script(seed, **changes)


def test_reports_are_the_same_bytes_however_the_venue_lags() -> None:
    for seed, script in all_scripts(1_500):
        rng, venue = random.Random(seed), Venue(script)
        for market_record, _ in script.market:
            due = max(script.due(market_record.timestamp_ms), venue.orders_read)
            # Often exactly what has to be, sometimes ahead, in batches of any size.
            to = rng.choice((due, due, rng.randint(due, len(script.orders))))
            while venue.orders_read < to:
                venue.publish(venue.read_orders(rng.randint(venue.orders_read + 1, to)))
            venue.publish(venue.read_market())
        venue.publish(venue.read_orders(len(script.orders)))
        assert by_order(venue.published) == by_order(all_reports(script)), seed


def test_a_venue_that_dies_at_any_moment_says_the_same_bytes_once() -> None:
    for seed, script in all_scripts(1_500):
        rng, venue = random.Random(seed), Venue(script)
        deaths = rng.randint(1, 3)
        while venue.market_read < len(script.market) or venue.orders_read < len(script.orders):
            dies = deaths > 0 and rng.random() < 0.15
            most = rng.randint(0, 2) if dies else 1_000_000
            is_over = venue.market_read == len(script.market)
            due = 0 if is_over else script.due(script.market[venue.market_read][0].timestamp_ms)
            if due > venue.orders_read:
                venue.publish(venue.read_orders(due), most)
            elif venue.orders_read < len(script.orders) and (is_over or rng.random() < 0.5):
                venue.publish(venue.read_orders(venue.orders_read + 1), most)
            else:
                venue.publish(venue.read_market(), most)
            if dies:
                deaths -= 1
                venue.restart()
        assert by_order(venue.published) == by_order(all_reports(script)), seed


def prices_there(message: MarketMessage, side: str) -> list[float]:
    """At what a taker could have dealt."""
    if isinstance(message, Trade):
        return [message.price]
    if isinstance(message, Bar):
        return [message.low, message.high, message.close]
    assert isinstance(message, Quote)
    return [message.ask if side == "buy" else message.bid]


def size_there(message: MarketMessage, side: str) -> float:
    if isinstance(message, Trade):
        return message.size
    if isinstance(message, Bar):
        return message.volume * 0.1
    assert isinstance(message, Quote)
    return message.ask_size if side == "buy" else message.bid_size


def test_no_fill_is_better_than_the_market_and_none_larger_than_what_was_there() -> None:
    for _, script in all_scripts(1_000):
        taken: dict[tuple[int, str, str], float] = defaultdict(float)
        for report in all_reports(script):
            if report.last_quantity is None or report.last_price is None:
                continue
            asked = script.sent[report.order_id]
            sign = 1 if asked.side == "buy" else -1
            dealt_on = [
                message
                for record, message in script.market
                if message.ts_recv == report.ts_event
                and message.instrument == asked.instrument
                and record.offset > asked.source.offset
                and isinstance(message, Quote | Trade | Bar)
            ]
            assert dealt_on, "a fill needs a market record of its time, past its source"
            # A buyer never pays less than the cheapest that was there, a seller never gets more than the dearest.
            there = [sign * price for message in dealt_on for price in prices_there(message, asked.side)]
            assert sign * report.last_price >= min(there)
            if asked.limit_price is not None:
                assert sign * report.last_price <= sign * asked.limit_price
            taken[report.ts_event, asked.instrument, asked.side] += report.last_quantity
        for (ts_event, name, side), lots in taken.items():
            there = [
                size_there(message, side)
                for _, message in script.market
                if message.ts_recv == ts_event
                and message.instrument == name
                and isinstance(message, Quote | Trade | Bar)
            ]
            assert lots <= sum(there)


def test_what_a_standing_quote_shows_is_filled_once() -> None:
    for _, script in all_scripts(1_000, forces=("IOC", "FOK")):
        reports = [r for r in all_reports(script) if r.last_quantity is not None]
        for name in INSTRUMENTS:
            for side in ("buy", "sell"):
                standing: float | None = None
                most = taken = 0.0
                filled: dict[int, float] = defaultdict(float)
                for report in reports:
                    if (report.instrument, report.side) == (name, side):
                        filled[report.ts_event] += report.last_quantity or 0.0
                for _, message in script.market:
                    is_good = (
                        isinstance(message, Quote) and message.instrument == name and 0 < message.bid <= message.ask
                    )
                    if not is_good or not isinstance(message, Quote) or message.bid % 1 or message.ask % 1:
                        continue
                    price, size = (message.ask, message.ask_size) if side == "buy" else (message.bid, message.bid_size)
                    if price != standing:
                        standing, most, taken = price, 0.0, 0.0
                    most = max(most, size)
                    if sum(m.ts_recv == message.ts_recv for _, m in script.market) == 1:
                        taken += filled[message.ts_recv]
                    assert taken <= most


def test_each_order_gets_one_final_report_and_totals_that_add_up() -> None:
    for _, script in all_scripts(1_000):
        grouped: dict[str, list[ExecutionReport]] = defaultdict(list)
        for report in all_reports(script):
            grouped[report.order_id].append(report)
        for order_id, reports in grouped.items():
            asked, instrument = script.sent[order_id], INSTRUMENTS.get(reports[0].instrument)
            assert [r.report_seq for r in reports] == list(range(len(reports)))
            assert sum(r.status.is_final for r in reports) <= 1
            assert len({r.exec_id for r in reports}) == len(reports)
            lots = value = fee_nanos = 0
            for report in reports:
                if instrument is not None and report.last_quantity is not None and report.last_price is not None:
                    lots += round(report.last_quantity / instrument.quantity_step)
                    ticks = round(report.last_price / instrument.price_step)
                    nanos = instrument.value_nanos(ticks, round(report.last_quantity / instrument.quantity_step))
                    value += nanos
                    fee_nanos += instrument.fee_nanos(nanos, is_maker=report.liquidity == "maker")
                    average_ticks = Fraction(value, lots * instrument.nanos_per_tick_lot)
                    assert report.average_price == float(average_ticks * Fraction(str(instrument.price_step)))
                assert report.cumulative_quantity == (instrument.quantity(lots) if instrument is not None else 0)
                assert round(report.cumulative_fee * 1e9) == fee_nanos
                is_open = report.status in {"new", "partially_filled"}
                assert report.leaves_quantity == (asked.quantity - report.cumulative_quantity if is_open else 0)
                assert (report.status == "filled") == (
                    report.cumulative_quantity == asked.quantity and report.last_quantity is not None
                )


def test_a_reduce_only_order_never_goes_through_zero() -> None:
    for _, script in all_scripts(1_000, forces=("IOC", "FOK")):
        positions = dict.fromkeys(("BTC", "ETH", "XRP"), 0.0)
        ranks = {order_id: rank for rank, order_id in enumerate(script.sent)}
        # In the order in which they were sent: those who take at once never overtake one another.
        for report in sorted(all_reports(script), key=lambda r: (ranks[r.order_id], r.report_seq)):
            if report.last_quantity is None:
                continue
            before = positions[report.instrument]
            after = before + (report.last_quantity if report.side == "buy" else -report.last_quantity)
            if script.sent[report.order_id].reduce_only:
                assert abs(after) <= abs(before)
                assert after * before >= 0
            positions[report.instrument] = after
