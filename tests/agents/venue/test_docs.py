"""docs/paper-venue.md says what the venue does: its examples are run, its reasons are all there are."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from agents.venue.book import PaperBook
from agents.venue.config import VenueConfig
from agents.venue.reasons import MEANING, Reason
from messages import Claim, ExecutionReport, Order
from messages.market import MarketMessage
from tests.agents.venue.market import INSTRUMENTS, MS, cancel, order, quote, record, trade

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "paper-venue.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
LINE = re.compile(r" *(?P<at>\d+) ms  (?P<what>.*)")
QUOTE = re.compile(r"quote (\d+) x (\d+) \| (\d+) x (\d+)")
TRADE = re.compile(r"trade (\d+) x (\d+)(?: (buy|sell))?")
ORDER = re.compile(r"(\w+): (buy|sell) (\d+) (?:market|at (\d+) (IOC|FOK|GTC|GTX))( reduce-only)?")


class Reader:
    """Carries out the lines of an example; `said` is what the venue answers."""

    def __init__(self) -> None:
        self._book = PaperBook(0, VenueConfig(latency_ns=5 * MS), INSTRUMENTS)
        self._book.orders([(record("orders", 0, 0), Claim(owner="e"))])
        self._offset = self._seq = 0
        self.said: list[str] = []

    def read(self, line: str) -> None:
        found = LINE.fullmatch(line)
        assert found is not None, line
        at_ms, what = int(found["at"]), found["what"]
        if quoted := QUOTE.fullmatch(what):
            bid, bid_size, ask, ask_size = map(float, quoted.groups())
            self._tick(at_ms, quote(at_ms, bid=bid, bid_size=bid_size, ask=ask, ask_size=ask_size))
        elif printed := TRADE.fullmatch(what):
            self._tick(at_ms, trade(at_ms, float(printed[1]), float(printed[2]), aggressor=printed[3]))
        elif what.startswith("cancel "):
            self._hear(self._book.orders([(record("orders", self._seq + 1, at_ms), cancel(self._seq, what[7:]))]))
            self._seq += 1
        else:
            self._hear(self._book.orders([(record("orders", self._seq + 1, at_ms), self._order(at_ms, what))]))
            self._seq += 1

    def _tick(self, at_ms: int, message: MarketMessage) -> None:
        self._hear(self._book.market(record("market", self._offset, at_ms), message))
        self._offset += 1

    def _order(self, at_ms: int, what: str) -> Order:
        found = ORDER.fullmatch(what)
        assert found is not None, what
        name, side, quantity, limit, force, reduces = found.groups()
        limited = {"limit_price": float(limit), "time_in_force": force} if limit else {}
        changes = {"order_id": name, "side": side, "quantity": float(quantity), "reduce_only": reduces is not None}
        return order(self._seq, self._offset - 1, ts_decided=at_ms * MS, **changes, **limited)

    def _hear(self, reports: Sequence[ExecutionReport]) -> None:
        for report in reports:
            said = f"-> {report.order_id} {report.status.value}"
            if report.last_quantity is not None:
                said += f" {report.last_quantity:g} at {report.last_price:g} {report.liquidity}"
            elif report.reason is not None:
                said += f" {report.reason.partition(':')[0]}"
            self.said.append(said)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_goes_as_it_is_written(text: str) -> None:
    reader, expected = Reader(), list[str]()
    for line in text.splitlines():
        if line.strip().startswith("->"):
            expected.append(line.strip())
            continue
        assert reader.said == expected, f"before {line!r}"
        reader.read(line)
    assert reader.said == expected
    assert expected


def test_each_section_with_a_rule_has_its_example() -> None:
    assert len(EXAMPLES) >= 9


def test_the_table_of_reasons_is_complete() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [(reason.value, MEANING[reason]) for reason in Reason]


def test_every_setting_that_the_page_names_is_one() -> None:
    fields = {field.name for field in msgspec.structs.fields(VenueConfig)}
    named = {"latency_ns", "latency_file", "latency_quantiles_ns", "latency_seed", "trade_lag_ns"}
    assert named | {"remembered_records", "max_order_age_ms", "bars"} <= fields
    assert all(f"`{name}`" in PAGE for name in named)
