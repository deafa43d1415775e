"""The numbers and the series of a report, from the log alone and what only a clock could tell. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agents.replay.replay import Replayed, logged_orders, orders_digest
from agents.report.accounts import NO_BUNDLE, Accounts, Activation, Traded, currency_of, keep_accounts
from agents.report.log import Denied, Records, count_decided, count_sent, messages_of
from agents.report.summary import DeniedOrders, Latency, Summary
from agents.risk.calculators import drawdowns
from agents.risk.instruments import NANO, Instrument
from agents.risk.limits.file import PortfolioLimits
from messages import Swapped, TrainResult

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ID_SHOWN = 8


class InstrumentSeries(Struct, frozen=True, kw_only=True, eq=False):
    """One instrument over time (ns, UTC): mid price, and its fills with the position after each, in units."""

    instrument: str
    currency: str
    times_ns: Integers
    mids: Floats
    fill_times_ns: Integers
    fill_prices: Floats
    fill_quantities: Floats
    positions: Floats


class SwapMark(Struct, frozen=True, kw_only=True):
    """A bundle replaced another one, in all of `instruments` at about `time_ns`."""

    time_ns: int
    bundle_id: str
    label: str
    instruments: tuple[str, ...]


class Series(Struct, frozen=True, kw_only=True, eq=False):
    """What the pictures show. `drawdown` as a fraction of the highest equity so far; money in `currency`.

    `gross`, `net` are exposures at `times_ns`: positions at their marks. `limits`: what these are held against.
    """

    instruments: tuple[InstrumentSeries, ...]
    currency: str
    times_ns: Integers
    equity: Floats
    drawdown: Floats
    gross: Floats
    net: Floats
    limits: PortfolioLimits | None
    swaps: tuple[SwapMark, ...]
    decision_us: Floats
    outcomes: Mapping[str, int]
    denials: Mapping[str, int]
    denied: tuple[Denied, ...]


def summarise(
    records: Records,
    *,
    partitions: int,
    instruments: Mapping[str, Instrument],
    cash: float,
    decision_ns: Sequence[int] = (),
    staging_ms: float | None = None,
    labels: Mapping[str, str] | None = None,
    replayed: Replayed | None = None,
    training_failed: str | None = None,
    seed: int | None = None,
    seconds: float | None = None,
    was_stopped: bool = False,
    report: str | None = None,
) -> Summary:
    """Return the figures of a log.

    `records` returns a partition's records of a topic, whole and in offset order; `cash` is what the portfolio started
    with; `labels` names bundles by id, the others go by their training run or by the beginning of their id.
    """
    accounts = keep_accounts(records, partitions=partitions, instruments=instruments, cash=cash)
    decided = count_decided(records, partitions, was_stopped=was_stopped)
    sent = count_sent(records, partitions)
    result = _training_result(records)
    names = _labels(accounts, records, labels or {})
    swaps = _swaps(accounts.activations)
    return Summary(
        ticks=decided.ticks,
        decisions=decided.decisions,
        orders=sent.orders,
        fills=accounts.fills,
        denials=dict(decided.denials),
        denied_orders=_denied_orders(decided.denied),
        lost_ticks=decided.lost_ticks,
        duplicate_orders=sent.duplicates,
        swaps=len(swaps),
        swap_us=_swap_us(records, swaps),
        staging_ms=staging_ms,
        pnl={names[bundle_id]: currency_of(nanos) for bundle_id, nanos in accounts.pnl_nanos.items()},
        decision_us=_latency(decision_ns),
        orders_digest=orders_digest({n: logged_orders(records("orders", n)) for n in range(partitions)}),
        report=report,
        outcomes=dict(decided.outcomes),
        cancels=sent.cancels,
        rejects=accounts.order_states.get("rejected", 0),
        order_states=_order_states(accounts, sent.orders),
        dead_letters=len(records("dead-letters", 0)),
        gap_ticks=decided.gap_ticks,
        undecided_ticks=decided.undecided_ticks,
        unbooked_reports=accounts.unbooked,
        pnl_total=currency_of(accounts.total_nanos),
        fees=currency_of(accounts.fee_nanos),
        max_drawdown=max(drawdowns(accounts.equity[1]), default=0.0),
        max_gross_exposure=currency_of(max(accounts.gross, default=0)),
        max_net_exposure=currency_of(max(accounts.net, key=abs, default=0)),
        currency=_currency(instruments),
        replay_equal=replayed.is_equal if replayed is not None else None,
        replay_digest=replayed.orders_digest if replayed is not None else None,
        training=dict(result.figures) if result is not None else {},
        training_failed=training_failed or (result.reason if result is not None and not result.sha256 else None),
        seed=seed,
        seconds=seconds,
        was_stopped=was_stopped,
    )


def series_of(
    records: Records,
    *,
    partitions: int,
    instruments: Mapping[str, Instrument],
    cash: float,
    decision_ns: Sequence[int] = (),
    labels: Mapping[str, str] | None = None,
    limits: PortfolioLimits | None = None,
) -> Series:
    """Return the series of a log; arguments as those of `summarise`. `limits`: of the portfolio, to be drawn too."""
    accounts = keep_accounts(records, partitions=partitions, instruments=instruments, cash=cash)
    decided = count_decided(records, partitions, was_stopped=True)
    times, equity = accounts.equity
    equities = np.asarray(equity, dtype=np.float64)
    return Series(
        instruments=tuple(
            _instrument_series(instruments[name], accounts.mids[name], accounts.trades[name])
            for name in sorted(instruments)
        ),
        currency=_currency(instruments),
        times_ns=np.asarray(times, dtype=np.int64),
        equity=equities / NANO,
        drawdown=np.asarray(drawdowns(equity), dtype=np.float64),
        gross=np.asarray(accounts.gross, dtype=np.float64) / NANO,
        net=np.asarray(accounts.net, dtype=np.float64) / NANO,
        limits=limits,
        swaps=_swap_marks(_swaps(accounts.activations), _labels(accounts, records, labels or {})),
        decision_us=np.asarray(decision_ns, dtype=np.float64) / 1e3,
        outcomes=decided.outcomes,
        denials=decided.denials,
        denied=decided.denied,
    )


def _instrument_series(
    instrument: Instrument, mids: tuple[list[int], list[float]], trades: Sequence[Traded]
) -> InstrumentSeries:
    return InstrumentSeries(
        instrument=instrument.instrument,
        currency=instrument.currency,
        times_ns=np.asarray(mids[0], dtype=np.int64),
        mids=np.asarray(mids[1], dtype=np.float64),
        fill_times_ns=np.asarray([trade.time_ns for trade in trades], dtype=np.int64),
        fill_prices=np.asarray([trade.price for trade in trades], dtype=np.float64),
        fill_quantities=np.asarray([trade.quantity for trade in trades], dtype=np.float64),
        positions=np.asarray([trade.position for trade in trades], dtype=np.float64),
    )


def _denied_orders(denied: Sequence[Denied]) -> tuple[DeniedOrders, ...]:
    """Count by code, the most frequent first."""
    counts = Counter(one.denial.code for one in denied)
    return tuple(
        DeniedOrders(
            code=code,
            orders=count,
            instruments=dict(Counter(one.instrument for one in denied if one.denial.code is code).most_common()),
            last=str(next(one.denial for one in reversed(denied) if one.denial.code is code)),
        )
        for code, count in counts.most_common()
    )


def _order_states(accounts: Accounts, orders: int) -> dict[str, int]:
    unanswered = orders - sum(accounts.order_states.values())
    return dict(accounts.order_states) | ({"unanswered": unanswered} if unanswered > 0 else {})


def _swaps(activations: Iterable[Activation]) -> list[Activation]:
    return [activation for activation in activations if activation.replaced != NO_BUNDLE]


def _swap_marks(swaps: Sequence[Activation], labels: Mapping[str, str]) -> tuple[SwapMark, ...]:
    """One mark for the same bundle in several instruments, at the first of them."""
    marks: list[SwapMark] = []
    for swap in swaps:
        last = marks[-1] if marks else None
        if last is not None and last.bundle_id == swap.bundle_id and swap.instrument not in last.instruments:
            begins, names = marks.pop().time_ns, (*last.instruments, swap.instrument)
        else:
            begins, names = swap.time_ns, (swap.instrument,)
        label = labels.get(swap.bundle_id, swap.bundle_id)
        marks.append(SwapMark(time_ns=begins, bundle_id=swap.bundle_id, label=label, instruments=names))
    return tuple(marks)


def _swap_us(records: Records, swaps: Sequence[Activation]) -> float | None:
    if not swaps:
        return None
    told = [
        message.swap_us
        for _, message in messages_of("status", records("status", 0))
        if isinstance(message, Swapped) and message.sha256 == swaps[-1].sha256
    ]
    return max(told, default=None)


def _training_result(records: Records) -> TrainResult | None:
    results = [m for _, m in messages_of("training", records("training", 0)) if isinstance(m, TrainResult)]
    return results[-1] if results else None


def _labels(accounts: Accounts, records: Records, given: Mapping[str, str]) -> dict[str, str]:
    """Name each bundle that traded, no two alike."""
    runs: dict[Any, str] = {
        m.bundle_id: m.run_id for _, m in messages_of("training", records("training", 0)) if isinstance(m, TrainResult)
    }
    found: dict[str, str] = {}
    for bundle_id in [*accounts.pnl_nanos, *(activation.bundle_id for activation in accounts.activations)]:
        if bundle_id not in found:
            label = given.get(bundle_id) or runs.get(bundle_id) or bundle_id[:_ID_SHOWN] or "no bundle"
            found[bundle_id] = label if label not in found.values() else f"{label} {bundle_id[:_ID_SHOWN]}"
    return found


def _latency(decision_ns: Sequence[int]) -> Latency | None:
    if not len(decision_ns):
        return None
    p50, p99, most = np.percentile(np.asarray(decision_ns, dtype=np.float64) / 1e3, [50, 99, 100])
    return Latency(p50=float(p50), p99=float(p99), max=float(most))


def _currency(instruments: Mapping[str, Instrument]) -> str:
    return next((instrument.currency for instrument in instruments.values()), "USD")
