"""The Risk agent on the in-memory bus: snapshots, halts that latch, and the same books after a restart."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from agents.risk.config import RiskConfig
from agents.risk.limits.file import Limits
from messages import Adjust, Heartbeat, Quote, Resume
from messages import Limits as LimitsMessage
from tests.agents.risk.market import NOW
from tests.agents.risk.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.stop_risk()


async def test_snapshots_come_every_second_but_only_when_something_changed(world: World) -> None:
    await world.start_risk()
    await world.fill("buy", 1.0, 100.0, cumulative_fee=0.25)
    await world.quote(110.0)
    await world.wait(3)
    snapshots = await world.snapshots()
    assert len(snapshots) == 2
    newest = snapshots[-1]
    assert (newest.equity, newest.cash, newest.unrealized_pnl, newest.fees) == (1_009.75, 899.75, 10.0, 0.25)
    (position,) = newest.positions
    assert (position.instrument, position.quantity, position.average_price, position.mark) == ("BTC", 1.0, 100.0, 110.0)


async def test_a_heartbeat_comes_every_second(world: World) -> None:
    await world.start_risk()
    await world.wait(2)
    beats = [message for message in await world.said("status") if isinstance(message, Heartbeat)]
    assert [beat.agent for beat in beats] == ["risk"] * 3


async def test_a_heartbeat_says_when_risk_gets_nothing_to_see(world: World) -> None:
    await world.start_risk()
    world.stall_risk()
    await world.wait(1)
    beats = [message for message in await world.said("status") if isinstance(message, Heartbeat)]
    assert [beat.state for beat in beats] == ["live", "stalled"]


async def test_a_drawdown_halts_once_with_an_alert(world: World) -> None:
    await world.start_risk()
    await world.fill("buy", 5.0, 100.0)
    await world.quote(100.0)
    assert await world.halts() == []
    await world.quote(79.0)
    await world.quote(78.0)
    await world.wait(2)
    ((_, halt),) = await world.halts()
    assert (halt.scope, halt.level, halt.writer) == ("portfolio", "halted", "risk-1")
    assert halt.reason == "DRAWDOWN limit=0.1 value=0.105"
    assert [(alert.code, alert.severity) for alert in await world.alerts()] == [("DRAWDOWN", "critical")]


async def test_figures_that_pass_their_limits_together_are_one_halt_and_an_alert_each(world: World) -> None:
    await world.start_risk(Limits.convert({"portfolio": {"max_drawdown": 0.1, "max_daily_loss": 100.0}}))
    await world.fill("buy", 5.0, 100.0)
    await world.quote(79.0)
    await world.wait(2)
    assert len(await world.halts()) == 1
    assert sorted(alert.code for alert in await world.alerts()) == ["DAILY_LOSS", "DRAWDOWN"]


async def test_marks_are_taken_once_an_interval_from_the_newest_quote_that_has_a_price(world: World) -> None:
    risk = await world.start_risk()
    quotes = [(100.0, 101.0), (102.0, 103.0), (104.0, 105.0), (110.0, 109.0)]
    for bid, ask in quotes:
        message = Quote(instrument="BTC", ts_recv=world.clock.now_ns(), bid=bid, bid_size=1, ask=ask, ask_size=1)
        await world.publish("market", "BTC", message)
    assert risk.ledger.mark_ticks("BTC") == 201
    world.clock.set(world.clock.now_ns() + RiskConfig().market_interval_ms * 1_000_000)
    await world.broker.settle()
    assert risk.ledger.mark_ticks("BTC") == 209


async def test_a_quote_under_another_key_is_no_mark(world: World) -> None:
    risk = await world.start_risk()
    message = Quote(instrument="BTC", ts_recv=NOW, bid=100.0, bid_size=1, ask=101.0, ask_size=1)
    await world.publish("market", "ETH", message)
    await world.wait()
    assert risk.ledger.mark_ticks("BTC") is None


async def test_a_resume_and_a_withdrawal_while_risk_is_down_count_at_the_restart(world: World) -> None:
    await world.start_risk()
    await world.fill("buy", 5.0, 100.0)
    await world.quote(79.0)
    ((offset, _),) = await world.halts()
    await world.stop_risk()
    await world.control(Resume(scope="portfolio", clears=(offset,), who="ann", reason="seen", ts=0))
    await world.control(Adjust(adjust_id="a", who="ann", reason="paid out", ts=0, cash=-300.0))
    await world.start_risk()
    await world.wait(2)
    assert len(await world.halts()) == 1
    await world.stop_risk()
    newest = (await world.snapshots())[-1]
    assert (newest.equity, newest.peak_equity, newest.drawdown, newest.control_offset) == (595.0, 595.0, 0.0, 3)


async def test_a_last_snapshot_comes_with_the_stop(world: World) -> None:
    await world.start_risk()
    await world.wait(2)
    assert len(await world.snapshots()) == 1
    stopped_ns = world.clock.now_ns()
    await world.stop_risk()
    assert (await world.snapshots())[-1].ts == stopped_ns


async def test_a_halt_latches_over_a_restart_and_after_a_resume_losses_count_anew(world: World) -> None:
    await world.start_risk()
    await world.fill("buy", 5.0, 100.0)
    await world.quote(79.0)
    ((offset, _),) = await world.halts()
    await world.stop_risk()
    risk = await world.start_risk()
    await world.wait(2)
    assert len(await world.halts()) == 1
    await world.control(Resume(scope="portfolio", clears=(offset,), who="ann", reason="seen", ts=0))
    await world.wait(2)
    await world.quote(78.0)
    assert len(await world.halts()) == 1
    await world.quote(50.0)
    assert len(await world.halts()) == 2
    assert risk.ledger.position_lots("BTC") == 500


async def test_a_restart_rebuilds_the_same_books_and_the_same_peak(world: World) -> None:
    watched = await world.start_risk()
    await world.control(Adjust(adjust_id="a", who="ann", reason="r", ts=0, cash=500.0))
    await world.fill("buy", 3.0, 100.0, cumulative_fee=0.1)
    await world.quote(120.0)
    await world.wait()
    await world.fill("sell", 1.0, 110.0, cumulative_fee=0.1)
    await world.quote(115.0)
    await world.wait()
    await world.stop_risk()
    before, books = (await world.snapshots())[-1], watched.ledger.snapshot()
    risk = await world.start_risk()
    await world.wait()
    assert risk.ledger.snapshot() == books
    await world.stop_risk()
    after = (await world.snapshots())[-1]
    assert msgspec.structs.replace(after, ts=before.ts) == before
    assert risk.ledger.capital_nanos == 1_500 * 10**9
    assert before.peak_equity == pytest.approx(1_559.9)


async def test_a_report_that_cannot_be_booked_halts_its_instrument_once_even_over_a_restart(world: World) -> None:
    await world.start_risk()
    await world.fill("buy", 0.005, 100.0)
    ((offset, halt),) = await world.halts()
    assert (halt.scope, halt.level) == ("instrument:BTC", "halted")
    await world.control(Resume(scope="instrument:BTC", clears=(offset,), who="ann", reason="seen", ts=0))
    await world.stop_risk()
    await world.start_risk()
    await world.wait(2)
    assert len(await world.halts()) == 1
    await world.publish_bytes("reports", "ETH", b"{broken")
    assert [halt.scope for _, halt in await world.halts()] == ["instrument:BTC", "instrument:ETH"]


async def test_limits_change_through_control_and_impossible_ones_do_not_stop_the_agent(world: World) -> None:
    await world.start_risk()
    await world.fill("buy", 5.0, 100.0)
    await world.quote(100.0)
    wrong = LimitsMessage(version=1, changes={"portfolio.max_drawdown": 7.0}, who="a", reason="r", ts=0)
    await world.control(wrong)
    assert [halt.level for _, halt in await world.halts()] == ["reducing"]
    right = LimitsMessage(version=2, changes={"portfolio.max_gross_exposure": 400.0}, who="a", reason="r", ts=0)
    await world.control(right)
    await world.wait()
    assert [alert.code for alert in await world.alerts()] == ["BAD_CONTROL", "GROSS_EXPOSURE"]


async def test_a_position_without_market_data_is_told_once(world: World) -> None:
    await world.start_risk()
    await world.fill("buy", 1.0, 100.0)
    await world.quote(100.0)
    await world.wait(65)
    stale = [alert for alert in await world.alerts() if alert.code == "STALE_MARKET"]
    assert [(alert.instrument, alert.severity) for alert in stale] == [("BTC", "warning")]


async def test_a_resume_of_an_instruments_halt_does_not_forgive_a_loss(world: World) -> None:
    risk = await world.start_risk()
    await world.fill("buy", 5.0, 100.0)
    await world.quote(82.0)  # nine hundredths below the peak
    await world.fill("buy", 0.005, 100.0)
    ((offset, halt),) = await world.halts()
    assert halt.scope == "instrument:BTC"
    await world.control(Resume(scope="instrument:BTC", clears=(offset,), who="ann", reason="seen", ts=0))
    await world.quote(79.0)
    assert [halt.reason.split(" ")[0] for _, halt in await world.halts()] == ["BAD_REPORT", "DRAWDOWN"]
    assert risk.ledger.position_lots("BTC") == 500


async def test_a_resume_is_not_forgotten_when_risk_dies_right_after_it(world: World) -> None:
    await world.start_risk()
    await world.fill("buy", 5.0, 100.0)
    await world.quote(79.0)
    ((offset, _),) = await world.halts()
    await world.control(Resume(scope="portfolio", clears=(offset,), who="ann", reason="seen", ts=0))
    await world.kill_risk()
    await world.start_risk()
    await world.wait(2)
    assert len(await world.halts()) == 1


async def test_a_position_that_has_had_no_price_since_the_start_is_stale_too(world: World) -> None:
    await world.start_risk()
    await world.fill("buy", 1.0, 100.0)
    await world.wait(70)
    assert [(alert.code, alert.instrument) for alert in await world.alerts()] == [("STALE_MARKET", "BTC")]


async def test_a_flood_of_bad_reports_is_told_once_until_a_person_resumes(world: World) -> None:
    await world.start_risk()
    for _ in range(50):
        await world.fill("buy", 0.005, 100.0)
        await world.publish_bytes("reports", "ETH", b"{broken")
    assert [(alert.code, alert.instrument) for alert in await world.alerts()] == [
        ("BAD_REPORT", "BTC"),
        ("BAD_REPORT", "ETH"),
    ]
    (offset, _), _ = await world.halts()
    await world.control(Resume(scope="instrument:BTC", clears=(offset,), who="ann", reason="seen", ts=0))
    await world.kill_risk()
    await world.start_risk()
    assert len(await world.halts()) == 2
    await world.fill("buy", 0.005, 100.0)
    await world.publish_bytes("reports", "ETH", b"{broken")
    assert [alert.instrument for alert in await world.alerts()] == ["BTC", "ETH", "BTC"]
