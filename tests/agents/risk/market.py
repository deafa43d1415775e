"""Builders for the tests of risk."""

from typing import Any

from agents.risk.gate import Proposal, View
from agents.risk.instruments import Instrument
from agents.risk.kill_switch import TradingState
from messages import ExecutionReport, ReportStatus
from messages.reports import OrderPosition

BTC = Instrument(instrument="BTC", price_step=0.5, quantity_step=0.01, taker_fee_bps=1.0, maker_fee_bps=-0.5)
ETH = Instrument(instrument="ETH", price_step=0.01, quantity_step=0.001)
INSTRUMENTS = {"BTC": BTC, "ETH": ETH}
BID, ASK = 200, 201
TWICE_MID = BID + ASK
NOW = 1_700_000_000_000_000_000


def report(**changes: Any) -> ExecutionReport:
    """One filled buy of 1 BTC at 100 unless told otherwise."""
    fields: dict[str, Any] = {
        "exec_id": "e",
        "order_id": "o1",
        "instrument": "BTC",
        "ts_event": NOW,
        "side": "buy",
        "strategy": "s",
        "bundle_id": "b1",
        "status": ReportStatus.FILLED,
        "report_seq": 0,
        "cumulative_quantity": 1.0,
        "average_price": 100.0,
        "cumulative_fee": 0.0,
        "leaves_quantity": 0.0,
        "order": OrderPosition(partition=0, offset=1),
    }
    return ExecutionReport(**(fields | changes))


def proposal(**changes: Any) -> Proposal:
    """One market order to buy 0.1 BTC unless told otherwise."""
    fields: dict[str, Any] = {"instrument": "BTC", "strategy": "s", "side": "buy", "lots": 10}
    return Proposal(**(fields | changes))


def view(**changes: Any) -> View:
    """A flat position in a market of 100.0 to 100.5 unless told otherwise."""
    fields: dict[str, Any] = {
        "position_lots": 0,
        "state": TradingState.ACTIVE,
        "bid_ticks": BID,
        "ask_ticks": ASK,
        "reference_ts_ns": NOW,
    }
    return View(**(fields | changes))
