"""Topic `risk`: what Risk sees. Key = RiskSnapshot: scope, Alert: alert id, RiskCheckpoint: checkpoint/AGENT."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from messages.fields import Count, Fraction, Integer, Money, Name, Nanoseconds, Offset, Price, Units


class PositionView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instrument's position: quantity in units, average price, PnL and fees in the currency."""

    instrument: Name
    quantity: Units
    average_price: Price
    realized_pnl: Money
    unrealized_pnl: Money
    fees: Money
    mark: Price | None = None


class RiskSnapshot(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Portfolio figures in the account currency; ratios as fractions of 1.

    Written by risk; read by console, orchestrator, risk. `drawdown` counts from `peak_equity`, `daily_loss` (never
    negative) from `day_start_equity` of the trading day `day` (days since the epoch). Records of `control` from
    `control_offset` on are not in it yet.
    """

    scope: Name
    ts: Nanoseconds
    equity: Money
    cash: Money
    realized_pnl: Money
    unrealized_pnl: Money
    fees: Money
    gross_exposure: Money
    net_exposure: Money
    drawdown: Fraction
    daily_loss: Money
    loss_streak: Count
    positions: tuple[PositionView, ...] = ()
    peak_equity: Money | None = None
    day_start_equity: Money | None = None
    day: Annotated[Integer, Meta(description="days since the epoch")] | None = None
    control_offset: Offset | None = None


class Alert(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Something a person should know. Written by risk, execution, orchestrator, venue adapters;
    read by orchestrator, console.

    `ts` in ns.
    """

    alert_id: Name
    ts: Nanoseconds
    agent_id: Name
    severity: Literal["info", "warning", "critical"]
    code: Name
    text: str
    instrument: Name | None = None


class RiskCheckpoint(Struct, frozen=True, kw_only=True, tag=True):
    """Risk's books, so that a restart needs no reports from before. Written by risk; read by risk. `ts` in ns.

    Records of `control` before `control_to` are in them, and of each partition of `reports` before its number in
    `reports_to`. `state` is opaque, `digest` its blake2b-256 in hex: one that does not match its digest is ignored.
    """

    agent_id: Name
    ts: Nanoseconds
    control_to: Offset
    reports_to: tuple[Offset, ...]
    state: bytes
    digest: str


RiskMessage = RiskSnapshot | Alert | RiskCheckpoint
