"""What a venue's reports must prove, from JSON alone; and the same reports derived again from `orders` and `market`."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isclose

from agents.risk.instruments import Instrument
from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from messages import Record, decode, encode
from tests.journeys.plain_kafka import Json

FINAL = frozenset({"filled", "canceled", "rejected", "expired"})


def open_orders(orders: Mapping[str, Json], reports: Iterable[Json]) -> set[str]:
    """Return the ids of orders without a last report."""
    return orders.keys() - {report["order_id"] for report in reports if report["status"] in FINAL}


def problems(orders: Mapping[str, Json], records: Iterable[Record]) -> list[str]:
    """Return what is wrong with the reports on the topic: lost, doubled, in the wrong place, or not adding up."""
    told: defaultdict[str, list[Json]] = defaultdict(list)
    ids: defaultdict[str, int] = defaultdict(int)
    wrong = []
    for record in records:
        report: Json = json.loads(record.value or b"{}")
        told[report["order_id"]].append(report)
        ids[report["exec_id"]] += 1
        if report["order"]["partition"] != record.partition:
            wrong.append(f"{report['exec_id']} lies in partition {record.partition}, its order in {report['order']}")
    wrong += [f"{exec_id} is there {count} times" for exec_id, count in ids.items() if count > 1]
    wrong += [f"{order_id} was never ordered" for order_id in told.keys() - orders.keys()]
    for order_id, order in orders.items():
        wrong += [f"{order_id}: {problem}" for problem in _story(order, told[order_id])]
    return wrong


def _story(order: Json, told: Sequence[Json]) -> Iterable[str]:
    last = [report["status"] for report in told if report["status"] in FINAL]
    if len(last) != 1:
        yield f"{len(last)} last reports: {last}"
    if [report["report_seq"] for report in told] != list(range(len(told))):
        yield f"report_seq {[report['report_seq'] for report in told]}"
    filled = value = 0.0
    for report in told:
        filled += report.get("last_quantity") or 0.0
        value += (report.get("last_quantity") or 0.0) * (report.get("last_price") or 0.0)
        if filled != report["cumulative_quantity"]:
            yield f"fills sum up to {filled:g}, the report says {report['cumulative_quantity']:g}"
        if filled and not isclose(value / filled, report["average_price"]):
            yield f"fills average {value / filled:g}, the report says {report['average_price']:g}"
    if filled > order["quantity"]:
        yield f"{filled:g} filled of {order['quantity']:g}"


def derived(
    orders: Iterable[Record],
    market: Iterable[Record],
    instruments: Mapping[str, Instrument],
    config: VenueConfig,
    number: int,
) -> dict[str, list[bytes]]:
    """Return the reports of each order of a partition, as a venue that read everything at once derives them."""
    book = PaperBook(number, config, instruments)
    reports = book.orders([(record, decode("orders", record.value)) for record in orders])
    for record in market:
        reports += book.market(record, decode("market", record.value))
    return _by_order((report.order_id, encode(report)) for report in reports)


def on_topic(records: Iterable[Record]) -> dict[str, list[bytes]]:
    """Return the reports of each order as they stand on the topic."""
    return _by_order((json.loads(record.value or b"{}")["order_id"], record.value or b"") for record in records)


def _by_order(reports: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    found: defaultdict[str, list[bytes]] = defaultdict(list)
    for order_id, report in reports:
        found[order_id].append(report)
    return dict(found)
