"""Execution's heartbeats against Risk's books: positions, latency, actions at their bounds."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.risk.ledger import Ledger
from agents.risk.limits.file import PortfolioLimits
from agents.risk.watch.execution_check import ExecutionCheck
from messages import Adjust, Heartbeat
from messages.reports import OrderPosition
from messages.status import ShardStatus
from tests.agents.risk.market import INSTRUMENTS, report

SHARD = 0  # of BTC, when there are two; ETH has the other


class Books:
    """Risk's side: a ledger, and how far it has read."""

    def __init__(self, **limits: Any) -> None:
        self.check = ExecutionCheck(INSTRUMENTS, PortfolioLimits(**limits), shards=2)
        self.ledger = Ledger(INSTRUMENTS)
        self.reports_to = {0: 0, 1: 0}
        self.control_to = 0

    def trade(self, side: str, quantity: float) -> None:
        offset = self.reports_to[SHARD]
        message = report(
            order_id=f"o{offset}",
            side=side,
            cumulative_quantity=quantity,
            order=OrderPosition(partition=SHARD, offset=offset),
        )
        fill = self.ledger.apply(message)
        assert fill is not None
        self.check.moved("BTC", fill.lots, report=offset)
        self.reports_to[SHARD] += 1

    def adjust(self, quantity: float) -> None:
        adjust = Adjust(
            adjust_id=f"{self.control_to}", who="a", reason="r", ts=0, instrument="BTC", quantity=quantity, price=1.0
        )
        before = self.ledger.position_lots("BTC")
        self.ledger.apply_adjust(adjust)
        self.check.moved("BTC", self.ledger.position_lots("BTC") - before, control=self.control_to)
        self.control_to += 1

    def hear(self, **fields: Any) -> list[str]:
        status = ShardStatus(**({"partition": SHARD, "control_to": self.control_to, "reports_to": 0} | fields))
        self.check.hear(Heartbeat(agent_id="e", agent="execution", ts=0, state="live", shards=(status,)))
        self.check.compare(self.ledger, self.reports_to, self.control_to)
        return [breach.code for breach in self.check.breaches()]


def test_positions_are_compared_as_of_the_offset_that_execution_had_read() -> None:
    books = Books(position_confirmations=1)
    books.trade("buy", 1.0)
    books.trade("buy", 0.5)
    assert books.hear(reports_to=1, positions={"BTC": 1.0}) == []
    assert books.hear(reports_to=2, positions={"BTC": 1.5}) == []
    assert books.hear(reports_to=2, positions={"BTC": 1.0}) == ["POSITION_DISAGREEMENT"]


def test_what_risk_has_not_read_yet_waits() -> None:
    books = Books(position_confirmations=1)
    assert books.hear(reports_to=1, positions={"BTC": 1.0}) == []
    books.trade("buy", 2.0)
    books.check.compare(books.ledger, books.reports_to, books.control_to)
    (breach,) = books.check.breaches()
    assert (breach.level, breach.scope) == ("reducing", "instrument:BTC")
    assert "Execution holds 1, Risk 2 after the reports before reports-0@1" in breach.text


def test_one_disagreement_is_no_breach_until_it_is_confirmed_and_agreement_ends_it() -> None:
    books = Books(position_confirmations=2)
    books.trade("buy", 1.0)
    assert books.hear(reports_to=1) == []
    books.check.compare(books.ledger, books.reports_to, books.control_to)  # the same heartbeat counts once
    assert list(books.check.breaches()) == []
    assert books.hear(reports_to=1) == ["POSITION_DISAGREEMENT"]
    assert books.hear(reports_to=1, positions={"BTC": 1.0}) == []


def test_a_flat_position_that_execution_still_holds_is_a_disagreement() -> None:
    books = Books(position_confirmations=1)
    assert books.hear(positions={"BTC": 0.01}) == ["POSITION_DISAGREEMENT"]


def test_a_position_off_the_grid_or_of_nobodys_instrument_is_no_agreement_and_no_crash() -> None:
    books = Books(position_confirmations=1)
    assert books.hear(positions={"BTC": 0.005, "XYZ": 1.0}) == ["POSITION_DISAGREEMENT"]


def test_an_adjust_counts_from_where_the_shard_has_read_control() -> None:
    books = Books(position_confirmations=1)
    books.trade("buy", 1.0)
    books.adjust(2.0)
    assert books.hear(reports_to=1, control_to=0, positions={"BTC": 1.0}) == []
    assert books.hear(reports_to=1, control_to=1, positions={"BTC": 3.0}) == []
    assert books.hear(reports_to=1, control_to=1, positions={"BTC": 1.0}) == ["POSITION_DISAGREEMENT"]


def test_a_heartbeat_from_before_the_books_is_not_compared() -> None:
    books = Books(position_confirmations=1)
    books.check.begin({0: 5}, 0)
    books.reports_to[SHARD] = 5
    assert books.hear(reports_to=4, positions={"BTC": 1.0}) == []


def test_a_late_heartbeat_of_an_owner_from_before_is_not_compared_with_what_is_forgotten() -> None:
    books = Books(position_confirmations=1)
    for _ in range(3):
        books.trade("buy", 1.0)
    assert books.hear(reports_to=2, positions={"BTC": 2.0}) == []
    assert books.hear(reports_to=1, positions={"BTC": 7.0}) == []
    assert books.hear(reports_to=3, positions={"BTC": 3.0}) == []


@given(st.lists(st.tuples(st.sampled_from(["trade", "adjust", "hear"]), st.integers(1, 9), st.integers(0, 30))))
def test_a_shard_that_has_read_the_same_agrees_however_late_and_out_of_turn_its_heartbeats_come(
    history: list[tuple[str, int, int]],
) -> None:
    books = Books(position_confirmations=1)
    moves: list[tuple[int, int, int]] = []  # lots, and the offsets of reports and control after them
    for kind, lots, back in history:
        if kind == "hear":
            reports_to, control_to = max(0, books.reports_to[SHARD] - back), max(0, books.control_to - back // 2)
            held = sum(
                move for move, report_at, control_at in moves if report_at < reports_to and control_at < control_to
            )
            positions = {"BTC": held / 100} if held else {}
            assert books.hear(reports_to=reports_to, control_to=control_to, positions=positions) == []
        elif kind == "trade":
            moves.append((lots, books.reports_to[SHARD], -1))
            books.trade("buy", lots / 100)
        else:
            moves.append((lots, -1, books.control_to))
            books.adjust(lots / 100)


def test_a_slow_shard_is_a_breach_after_so_many_heartbeats_in_a_row_and_one_good_one_ends_it() -> None:
    books = Books(max_decision_p99_us=100.0, slow_heartbeats=3)
    found = [books.hear(decision_p99_us=p99) for p99 in (101.0, 150.0, None, 101.0, 99.0, 101.0)]
    assert found == [[], [], [], ["DECISION_LATENCY"], [], []]


def test_shards_are_slow_one_by_one() -> None:
    books = Books(max_decision_p99_us=100.0, slow_heartbeats=2)
    assert books.hear(decision_p99_us=200.0) == []
    assert books.hear(partition=1, decision_p99_us=200.0) == []
    assert books.hear(decision_p99_us=200.0) == ["DECISION_LATENCY"]


def test_actions_at_their_bounds_are_judged_over_a_full_window() -> None:
    books = Books(saturation_window=100, max_saturated_ratio=0.5)
    assert books.hear(decisions=60, saturated=60) == []
    assert books.hear(decisions=60, saturated=60) == ["ACTION_SATURATION"]
    assert books.hear(decisions=60) == ["ACTION_SATURATION"]
    assert books.hear(decisions=60) == []


def test_a_closed_throttle_halts_its_instrument_until_a_halt_has_taken_its_place() -> None:
    books = Books()
    assert books.hear() == []
    assert books.hear(throttled=("BTC",)) == ["REPEATED_EXECUTION"]
    (breach,) = books.check.breaches()
    assert (breach.level, breach.scope) == ("halted", "instrument:BTC")
    assert books.hear() == []
