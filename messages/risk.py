"""Topic `risk`: what Risk sees. Key = scope for RiskSnapshot, alert id for Alert."""

from typing import Literal

from msgspec import Struct

from messages.fields import Integer, Name, Nanoseconds, Offset


class PositionView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instrument's position: quantity in units, average price, PnL and fees in the currency."""

    instrument: Name
    quantity: float
    average_price: float
    realized_pnl: float
    unrealized_pnl: float
    fees: float
    mark: float | None = None


class RiskSnapshot(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Portfolio figures in the account currency; ratios as fractions of 1.

    Written by risk; read by console, orchestrator, risk. `drawdown` counts from `peak_equity`, `daily_loss` (never
    negative) from `day_start_equity` of the trading day `day` (days since the epoch). Records of `control` from
    `control_offset` on are not in it yet.
    """

    scope: Name
    ts: Nanoseconds
    equity: float
    cash: float
    realized_pnl: float
    unrealized_pnl: float
    fees: float
    gross_exposure: float
    net_exposure: float
    drawdown: float
    daily_loss: float
    loss_streak: Integer
    positions: tuple[PositionView, ...] = ()
    peak_equity: float | None = None
    day_start_equity: float | None = None
    day: Integer | None = None
    control_offset: Offset | None = None


class Alert(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Something a person should know. Written by risk, execution, orchestrator; read by console, people."""

    alert_id: Name
    ts: Nanoseconds
    agent_id: Name
    severity: Literal["info", "warning", "critical"]
    code: Name
    text: str
    instrument: Name | None = None


RiskMessage = RiskSnapshot | Alert
