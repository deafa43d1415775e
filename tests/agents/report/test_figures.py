import math

import pytest

from agents.report.accounts import NO_BUNDLE, keep_accounts
from agents.report.figures import series_of, summarise
from agents.report.summary import Summary
from agents.risk.instruments import NANO
from tests.agents.report.run_log import HOLD, INSTRUMENTS, NEW, NOT_DUE, OLD, ORDER, RunLog, swapped_run


def summary_of(log: RunLog, **changes: object) -> Summary:
    return summarise(log, partitions=1, instruments=INSTRUMENTS, cash=1_000.0, **changes)  # type: ignore[arg-type]


def test_numbers_of_a_small_run_are_those_counted_by_hand() -> None:
    summary = summary_of(swapped_run(), decision_ns=[1_000, 2_000, 3_000], staging_ms=12.5, labels={OLD: "baseline"})
    assert (summary.ticks, summary.decisions, summary.orders, summary.fills) == (5, 4, 2, 2)
    assert summary.outcomes == {"hold": 2, "order": 2, "denied": 1}
    assert summary.denials == {"MAX_POSITION": 1}
    (denied,) = summary.denied_orders
    assert (denied.code, denied.orders, denied.instruments) == ("MAX_POSITION", 1, {"BTC": 1})
    assert denied.last == "MAX_POSITION limit=1"
    assert (summary.max_gross_exposure, summary.max_net_exposure) == (120.0, 120.0)
    assert (summary.lost_ticks, summary.duplicate_orders, summary.unbooked_reports) == (0, 0, 0)
    assert (summary.swaps, summary.swap_us, summary.staging_ms) == (1, 60.0, 12.5)
    assert summary.pnl == {"baseline": 8.5, "run-1": 8.75}
    assert (summary.pnl_total, summary.fees) == (17.25, 0.75)
    assert summary.training == {"pnl_bps": 3.5}
    assert summary.order_states == {"filled": 2}
    assert summary.decision_us is not None
    assert (summary.decision_us.p50, summary.decision_us.max) == (2.0, 3.0)


def test_pnl_of_bundles_adds_up_to_the_portfolios_to_the_last_nano() -> None:
    accounts = keep_accounts(swapped_run(), partitions=1, instruments=INSTRUMENTS, cash=1_000.0)
    assert accounts.pnl_nanos == {OLD: 8_500_000_000, NEW: 8_750_000_000}
    assert sum(accounts.pnl_nanos.values()) == accounts.total_nanos == accounts.equity[1][-1] - 1_000 * NANO


def test_pnl_without_an_active_bundle_is_shown_as_such() -> None:
    log = RunLog().claim()
    log.quote(100.0)
    log.order("o1", 0)
    log.fill("o1", 101.0, 0.0)
    log.step(ORDER)
    accounts = keep_accounts(log, partitions=1, instruments=INSTRUMENTS, cash=0.0)
    assert accounts.pnl_nanos == {NO_BUNDLE: -1 * NANO}
    assert summary_of(log).pnl == {"no bundle": -1.0}


def test_two_bundles_with_one_label_stay_apart() -> None:
    summary = summary_of(swapped_run(), labels={OLD: "same", NEW: "same"})
    assert len(summary.pnl) == 2
    assert math.isclose(sum(summary.pnl.values()), summary.pnl_total)


def test_a_tick_without_an_outcome_is_lost_unless_the_run_was_stopped_before_it() -> None:
    log = RunLog().claim()
    log.quote(100.0)
    log.step(HOLD)
    log.quote(100.0)
    assert summary_of(log).lost_ticks == 1
    stopped = summary_of(log, was_stopped=True)
    assert (stopped.lost_ticks, stopped.undecided_ticks) == (0, 1)


def test_a_tick_decided_twice_counts_as_lost_and_a_repeated_step_does_not() -> None:
    log = RunLog().claim()
    log.quote(100.0)
    first = log.step(HOLD)
    log.batch(first)
    assert summary_of(log).lost_ticks == 0
    assert summary_of(log).decisions == 1
    log._market_to = 0
    log.step(HOLD)
    assert summary_of(log).lost_ticks == 1


def test_a_step_of_an_older_owner_counts_for_nothing() -> None:
    log = RunLog().claim()
    log.quote(100.0)
    log.step(NOT_DUE, epoch=7)
    assert summary_of(log).lost_ticks == 1


def test_offsets_in_a_gap_are_no_ticks_but_are_shown() -> None:
    log = RunLog().claim()
    for _ in range(3):
        log.quote(100.0)
    del log.topics["market"][:2]
    log.step(HOLD, skip=2)
    summary = summary_of(log)
    assert (summary.ticks, summary.lost_ticks, summary.gap_ticks) == (1, 0, 2)


@pytest.mark.parametrize(
    ("order_id", "seq", "epoch", "duplicates"), [("o1", 1, 0, 1), ("o2", 0, 0, 1), ("o2", 1, 0, 0), ("o1", 0, 9, 0)]
)
def test_an_id_or_a_seq_seen_before_is_a_duplicate_if_its_owner_was_in_force(
    order_id: str, seq: int, epoch: int, duplicates: int
) -> None:
    log = RunLog().claim()
    log.order("o1", 0)
    log.order(order_id, seq, epoch=epoch)
    assert summary_of(log).duplicate_orders == duplicates


def test_nothing_at_all_gives_zeros_and_no_latency() -> None:
    summary = summary_of(RunLog(), was_stopped=True)
    assert (summary.ticks, summary.orders, summary.pnl, summary.decision_us) == (0, 0, {}, None)


def test_series_hold_prices_fills_positions_and_the_swap() -> None:
    series = series_of(swapped_run(), partitions=1, instruments=INSTRUMENTS, cash=1_000.0, decision_ns=[5_000])
    (one,) = series.instruments
    assert one.mids.tolist() == [100.0, 100.0, 110.0, 120.0, 120.0]
    assert (one.fill_prices.tolist(), one.fill_quantities.tolist()) == ([101.0, 119.0], [1.0, -1.0])
    assert one.positions.tolist() == [1.0, 0.0]
    (swap,) = series.swaps
    assert (swap.label, swap.instruments, swap.time_ns) == ("run-1", ("BTC",), one.times_ns[2])
    assert series.equity[-1] == 1_017.25
    assert series.drawdown.max() == pytest.approx(1.5 / 1_000)
    assert series.decision_us.tolist() == [5.0]
    assert series.gross.tolist() == series.net.tolist()
    assert (series.gross.max(), series.gross[-1], len(series.gross)) == (120.0, 0.0, len(series.times_ns))
    (denied,) = series.denied
    assert (denied.time_ns, denied.instrument) == (one.times_ns[-1], "BTC")


def test_a_short_position_counts_in_full_as_gross_and_below_zero_as_net() -> None:
    log = RunLog().claim()
    log.quote(100.0)
    log.order("o1", 0, side="sell")
    log.fill("o1", 99.0, 0.0, side="sell")
    log.step(ORDER)
    summary = summary_of(log)
    assert (summary.max_gross_exposure, summary.max_net_exposure) == (100.0, -100.0)


def test_a_denial_whose_record_is_gone_is_still_counted() -> None:
    log = swapped_run()
    del log.topics["market"][-1]
    summary = summary_of(log)
    assert summary.denials == {"MAX_POSITION": 1}
    assert summary.denied_orders[0].instruments == {"": 1}
