"""The summary of a run: one object for scripts, one table for people, and how each number was counted."""

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from messages import DenialCode

if TYPE_CHECKING:
    from rich.table import Table

_DIGEST_SHOWN = 16
REPORT = "report"


class Latency(Struct, frozen=True, kw_only=True):
    """Wall-clock microseconds of one decision: percentiles and the largest."""

    p50: float
    p99: float
    max: float


class DeniedOrders(Struct, frozen=True, kw_only=True):
    """The orders that were denied under one code: how many by instrument, and the newest denial with its numbers."""

    code: DenialCode
    orders: int
    instruments: dict[str, int]
    last: str


class Summary(Struct, frozen=True, kw_only=True):
    """What a run did; as JSON it is the object of `tickpilot demo --json`. `rows` says how each number was counted.

    Money in `currency`, after fees where it says pnl. `pnl` is by bundle label and adds up to `pnl_total`.
    """

    ticks: int
    decisions: int
    orders: int
    fills: int
    denials: dict[str, int]
    lost_ticks: int
    duplicate_orders: int
    swaps: int
    swap_us: float | None
    staging_ms: float | None
    pnl: dict[str, float]
    decision_us: Latency | None
    orders_digest: str
    report: str | None = None
    outcomes: dict[str, int] = {}
    cancels: int = 0
    rejects: int = 0
    order_states: dict[str, int] = {}
    dead_letters: int = 0
    gap_ticks: int = 0
    undecided_ticks: int = 0
    unbooked_reports: int = 0
    pnl_total: float = 0.0
    fees: float = 0.0
    max_drawdown: float = 0.0
    max_gross_exposure: float = 0.0
    max_net_exposure: float = 0.0
    denied_orders: tuple[DeniedOrders, ...] = ()
    currency: str = "USD"
    replay_equal: bool | None = None
    replay_digest: str | None = None
    training: dict[str, float] = {}
    training_failed: str | None = None
    seed: int | None = None
    seconds: float | None = None
    was_stopped: bool = False


class Row(NamedTuple):
    """One line of the table: `note` says how the number was counted; `is_bad` marks what should not be."""

    name: str
    value: str
    note: str
    is_bad: bool = False


def rows(summary: Summary) -> list[Row]:
    """Return the lines of the summary in the order in which they are shown."""
    found = [*_run(summary), *_market(summary), *_trading(summary), *_bundles(summary), *_training(summary)]
    return [*found, *_proof(summary)]


def render_table(summary: Summary) -> "Table":
    """Return the summary as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="tickpilot: stopped early" if summary.was_stopped else "tickpilot", title_justify="left")
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", overflow="fold")
    for row in rows(summary):
        table.add_row(row.name, Text(row.value, style="bold red" if row.is_bad else ""))
    return table


def _run(summary: Summary) -> list[Row]:
    found = []
    if summary.seconds is not None:
        found.append(Row("run time", f"{summary.seconds:,.1f} s", "wall clock"))
    if summary.seed is not None:
        found.append(Row("seed", str(summary.seed), "of market and training"))
    if summary.was_stopped:
        found.append(Row("stopped early", "yes", "on request; everything below is of what was done until then"))
    return found


def _market(summary: Summary) -> list[Row]:
    lost = Row(
        "ticks lost",
        f"{summary.lost_ticks:,}",
        "offsets on `market` that have not exactly one outcome in `decisions`, compared one by one",
        summary.lost_ticks > 0,
    )
    found = [Row("ticks", f"{summary.ticks:,}", "records on `market`, all partitions"), lost]
    if summary.gap_ticks:
        found.append(Row("ticks in gaps", f"{summary.gap_ticks:,}", "offsets that steps name as lost or empty", True))
    if summary.undecided_ticks:
        note = "records behind the last step when the run was stopped: not lost, decided after a restart"
        found.append(Row("ticks not yet decided", f"{summary.undecided_ticks:,}", note))
    if summary.dead_letters:
        found.append(Row("dead letters", f"{summary.dead_letters:,}", "records that could not be read, kept whole"))
    note = (
        "outcomes that came of asking the policy or an override: order, denied, dead-band, override, hold on an action"
    )
    return [*found, Row("decisions", f"{summary.decisions:,}", note)]


def _trading(summary: Summary) -> list[Row]:
    denied = ", ".join(f"{code} {count:,}" for code, count in summary.denials.items()) or "none"
    found = [
        Row("orders", f"{summary.orders:,}", "valid orders on `orders` (the owner's epoch), cancels not counted"),
        Row(
            "duplicate orders",
            f"{summary.duplicate_orders:,}",
            "valid records whose order id was there before, or whose seq was there before in the partition",
            summary.duplicate_orders > 0,
        ),
        Row("fills", f"{summary.fills:,}", "reports that moved the position"),
        Row("rejected by the venue", f"{summary.rejects:,}", "orders with a report `rejected`"),
        *_unfilled(summary),
        Row("denied by the gate", denied, "outcomes `denied` by code"),
    ]
    if summary.unbooked_reports:
        note = "reports that the ledger refused to book"
        found.append(Row("reports not booked", f"{summary.unbooked_reports:,}", note, True))
    if (latency := summary.decision_us) is not None:
        shown = f"{latency.p50:,.1f} / {latency.p99:,.1f} / {latency.max:,.1f} µs"
        found.append(
            Row(
                "decision p50 / p99 / max",
                shown,
                "wall clock of a step divided by its records, those with a quick outcome too",
            )
        )
    return found


def _unfilled(summary: Summary) -> list[Row]:
    others = {state: count for state, count in summary.order_states.items() if state not in {"filled", "rejected"}}
    shown = ", ".join(f"{state} {count:,}" for state, count in others.items())
    return [Row("orders not filled whole", shown, "by the status of their last report")] if others else []


def _bundles(summary: Summary) -> list[Row]:
    note = "change of equity while the bundle was active, marked to mid at each activation, per instrument; after fees"
    found = [Row(f"PnL of {name}", _money(pnl, summary), note) for name, pnl in summary.pnl.items()]
    found += [
        Row(
            "PnL in all", _money(summary.pnl_total, summary), "equity at the end less capital; the bundles add up to it"
        ),
        Row("fees paid", _money(-summary.fees, summary), "contained in PnL"),
        Row("largest drawdown", f"{summary.max_drawdown:.3%}", "of the highest equity so far, at each mark"),
        Row(
            "largest exposure, gross / net",
            f"{summary.max_gross_exposure:,.0f} / {summary.max_net_exposure:+,.0f} {summary.currency}",
            "positions at their marks, added up without and with their signs; what is open is not in it",
        ),
        Row("swaps (one per instrument)", f"{summary.swaps:,}", "activations that replaced another bundle"),
    ]
    if summary.swap_us is not None:
        note = "the longest activation of the last bundle, between two records"
        found.append(Row("swap time", f"{summary.swap_us:,.1f} µs", note))
    if summary.staging_ms is not None:
        note = "from the announcement of the trained bundle to the last replica's Staged"
        found.append(Row("staging time", f"{summary.staging_ms:,.1f} ms", note))
    return found


def _training(summary: Summary) -> list[Row]:
    if summary.training_failed is not None:
        return [Row("training", f"failed: {summary.training_failed}", "the baseline traded on", True)]
    return [
        Row(
            f"training {name.replace('_', ' ')}",
            f"{value:,.{0 if value.is_integer() else 2}f}",
            "the trainer's figure on held-out ticks",
        )
        for name, value in summary.training.items()
    ]


def _proof(summary: Summary) -> list[Row]:
    digest = f"{summary.orders_digest[:_DIGEST_SHOWN]}…"
    found = [Row("orders digest", digest, f"sha256 over (seq, bytes) of all orders: {summary.orders_digest}")]
    if summary.replay_equal is not None:
        derived = f"{summary.replay_digest[:_DIGEST_SHOWN]}…" if summary.replay_digest is not None else ""
        shown = f"{'equal' if summary.replay_equal else 'DIFFERENT'} {derived}".strip()
        note = "every decision and order derived from the log again with the same core, compared byte for byte"
        found.append(Row("replay", shown, note, not summary.replay_equal))
    if summary.report is not None:
        found.append(Row(REPORT, summary.report, "one HTML file that needs nothing else"))
    return found


def _money(amount: float, summary: Summary) -> str:
    return f"{amount:+,.2f} {summary.currency}"
