"""Stopped, killed, and started again: the Risk agent has the same books, tells nothing twice and forgets nothing."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.risk.config import RiskConfig
from agents.risk.limits.file import Limits
from messages import Adjust, Fatal, NewRecord, Partition, Resume, RiskSnapshot, encode
from messages import Limits as LimitsMessage
from messages.bus.partitioner import partition_of
from messages.reports import OrderPosition
from messages.risk import RiskCheckpoint
from tests.agents.risk.market import INSTRUMENTS, report
from tests.agents.risk.world import SHARDS, World

ROOMY = Limits.convert({"portfolio": {"max_drawdown": 1.0, "max_daily_loss": 1e9}})
BTC = Partition("reports", partition_of(b"BTC", SHARDS))
OFTEN = RiskConfig(checkpoint_interval_ms=10)
NEVER = RiskConfig(checkpoint_interval_ms=10**9)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.stop_risk()


def same(first: RiskSnapshot, second: RiskSnapshot) -> bool:
    """Whether all figures are equal, to the last 1e-9: only the time may differ."""
    return msgspec.structs.replace(first, ts=0) == msgspec.structs.replace(second, ts=0)


orders = st.tuples(
    st.just("order"),
    st.sampled_from(["BTC", "ETH"]),
    st.sampled_from(["buy", "sell"]),
    st.lists(st.integers(1, 400), min_size=1, max_size=3),  # lots of its reports, one by one
    st.sampled_from([99.5, 100.0, 101.5]),
    st.permutations([0, 1, 2]),
)
events = st.lists(
    st.one_of(
        orders,
        orders,
        st.tuples(st.just("quote"), st.integers(80, 120)),
        st.tuples(st.just("adjust"), st.integers(-50, 50)),
        st.tuples(st.just("wait"), st.sampled_from([1, 3, 30_000])),
        st.tuples(st.just("stop")),
        st.tuples(st.just("kill")),
    ),
    max_size=25,
)


async def live(history: list[tuple], config: RiskConfig) -> tuple[World, RiskSnapshot]:  # type: ignore[type-arg]
    """Go through a history, and return what the last snapshot says."""
    world = World()
    await world.open()
    await world.start_risk(ROOMY, config)
    for number, (kind, *details) in enumerate(history):
        match kind, details:
            case "order", [str(name), str(side), lots, price, order]:
                await send_order(world, number, name, side, lots, price, order)
            case "quote", [mid]:
                await world.quote(float(mid))
            case "adjust", [cash]:
                adjust = Adjust(adjust_id=f"{number}", who="a", reason="r", ts=0, cash=float(cash))
                await world.control(adjust)
            case "wait", [seconds]:
                world.clock.set(world.clock.now_ns() + seconds * 10**9)
                await world.broker.settle()
            case _:
                await world.wait()  # what nobody has published yet can't be known later
                await (world.stop_risk() if kind == "stop" else world.kill_risk())
                world.broker.compact("risk")
                await world.start_risk(ROOMY, config)
    await world.wait(2)
    await world.stop_risk()
    return world, (await world.snapshots())[-1]


async def send_order(
    world: World, number: int, name: str, side: str, lots: list[int], price: float, order: list[int]
) -> None:
    """Publish the reports of one order, in any order: each carries the totals up to it."""
    step = INSTRUMENTS[name].quantity_step
    for index in [index for index in order if index < len(lots)]:
        total = sum(lots[: index + 1])
        message = report(
            order_id=f"o{number}",
            instrument=name,
            side=side,
            status="filled" if index == len(lots) - 1 else "partially_filled",
            report_seq=index,
            cumulative_quantity=total * step,
            average_price=price,
            cumulative_fee=total * 0.01,
            order=OrderPosition(partition=partition_of(name.encode(), SHARDS), offset=number),
        )
        await world.publish("reports", name, message)


@settings(max_examples=60, deadline=None)
@given(events)
def test_restarts_at_any_place_change_no_figure(history: list[tuple]) -> None:  # type: ignore[type-arg]
    """Books, peak, start of the day and streaks are those of an agent that was never away."""
    without = [event if event[0] not in {"stop", "kill"} else ("wait", 1) for event in history]
    for config in (OFTEN, NEVER):
        world, figures = asyncio.run(live(history, config))
        _, expected = asyncio.run(live(without, config))
        assert same(figures, expected)
        assert asyncio.run(world.halts()) == []


async def test_a_killed_agent_finds_what_it_had_published(world: World) -> None:
    await world.start_risk(ROOMY)
    await world.fill("buy", 3.0, 100.0, cumulative_fee=0.1)
    await world.quote(130.0)
    await world.wait()
    await world.fill("sell", 1.0, 90.0, cumulative_fee=0.1)
    await world.quote(110.0)
    await world.wait()
    before = (await world.snapshots())[-1]
    await world.kill_risk()
    await world.start_risk(ROOMY)
    await world.stop_risk()
    assert same((await world.snapshots())[-1], before)
    assert (before.peak_equity, before.loss_streak) == (1_089.9, 1)


async def test_a_high_and_a_new_day_while_nobody_watched_count_as_if_somebody_had(world: World) -> None:
    await world.start_risk(ROOMY)
    await world.fill("buy", 5.0, 100.0)
    await world.quote(100.0)
    await world.wait()
    await world.stop_risk()
    day_s = 86_400
    for seconds, mid in [(day_s, 140.0), (60, 120.0), (60, 110.0)]:
        world.clock.set(world.clock.now_ns() + seconds * 10**9)
        await world.quote(mid)
    await world.start_risk(ROOMY)
    await world.stop_risk()
    newest = (await world.snapshots())[-1]
    assert (newest.peak_equity, newest.day_start_equity, newest.equity) == (1_200.0, 1_200.0, 1_050.0)
    assert newest.daily_loss == 150.0


async def test_a_restart_reads_no_reports_from_before_its_checkpoint(world: World) -> None:
    await world.start_risk(ROOMY)
    await world.fill("buy", 3.0, 100.0)
    await world.stop_risk()
    await world.fill("buy", 1.0, 100.0)
    world.broker.delete_before(BTC, 1)
    risk = await world.start_risk(ROOMY)
    assert risk.ledger.position_lots("BTC") == 400
    assert await world.halts() == []


async def test_reports_that_retention_took_before_they_were_booked_are_told_and_reduce_until_a_person_resumes(
    world: World,
) -> None:
    await world.start_risk(ROOMY)
    await world.fill("buy", 3.0, 100.0)
    await world.stop_risk()
    for _ in range(3):
        await world.fill("buy", 1.0, 100.0)
    world.broker.delete_before(BTC, 3)
    await world.start_risk(ROOMY)
    ((offset, halt),) = await world.halts()
    assert (halt.scope, halt.level) == ("portfolio", "reducing")
    assert halt.reason.startswith("REPORTS_LOST reports-0: offsets 1 to 2 were deleted before they were booked;")
    await world.control(Resume(scope="portfolio", clears=(offset,), who="ann", reason="compared", ts=0))
    for _ in range(2):
        await world.kill_risk()
        await world.start_risk(ROOMY)
    assert len(await world.halts()) == 1
    assert [alert.code for alert in await world.alerts()] == ["REPORTS_LOST"]


async def test_without_any_checkpoint_reports_that_were_deleted_are_missed_too(world: World) -> None:
    await world.fill("buy", 3.0, 100.0)
    world.broker.delete_before(BTC, 1)
    await world.start_risk(ROOMY)
    ((_, halt),) = await world.halts()
    assert "offsets 0 to 0 were deleted" in halt.reason


async def test_retention_that_overtakes_a_running_agent_is_told(world: World) -> None:
    await world.start_risk(ROOMY)
    await world.fill("buy", 3.0, 100.0)
    value = encode(report(order_id="o9", order=OrderPosition(partition=0, offset=9)))
    world.broker.append(BTC, [NewRecord(key=b"BTC", value=value)] * 5)
    world.broker.delete_before(BTC, 5)
    await world.broker.settle()
    ((_, halt),) = await world.halts()
    assert "offsets 1 to 4 were deleted" in halt.reason


async def test_a_hole_in_the_offsets_alone_is_no_loss(world: World) -> None:
    await world.start_risk(ROOMY)
    await world.fill("buy", 3.0, 100.0)
    world.broker.log(BTC).end += 1  # what a transaction leaves
    await world.fill("buy", 1.0, 100.0)
    await world.kill_risk()
    risk = await world.start_risk(ROOMY)
    assert risk.ledger.position_lots("BTC") == 400
    assert await world.halts() == []


async def test_reports_that_end_before_the_books_do_are_told(world: World) -> None:
    await world.start_risk(ROOMY)
    await world.fill("buy", 3.0, 100.0)
    await world.stop_risk()
    log = world.broker.log(BTC)
    log.records, log.end = [], 0
    risk = await world.start_risk(ROOMY)
    ((_, halt),) = await world.halts()
    assert "reports-0 ends at offset 0, but the books hold what was read up to 1" in halt.reason
    await world.fill("buy", 1.0, 100.0)
    assert risk.ledger.position_lots("BTC") == 400


@pytest.mark.parametrize("damage", [{"digest": "0"}, {"reports_to": (0,)}, {"state": b"\xc1"}])
async def test_a_checkpoint_that_cannot_be_used_is_passed_over(world: World, damage: dict[str, object]) -> None:
    await world.start_risk(ROOMY)
    await world.fill("buy", 3.0, 100.0)
    await world.stop_risk()
    checkpoint = [m for m in await world.said("risk") if isinstance(m, RiskCheckpoint)][-1]
    bad = msgspec.structs.replace(checkpoint, **damage)
    await world.publish("risk", "checkpoint/risk-1", bad)
    risk = await world.start_risk(ROOMY)
    assert risk.ledger.position_lots("BTC") == 300
    assert await world.halts() == []


async def test_a_control_topic_that_was_cut_ends_the_agent_for_halts_may_be_lost(world: World) -> None:
    await world.control(Adjust(adjust_id="a", who="ann", reason="r", ts=0, cash=1.0))
    await world.control(Adjust(adjust_id="b", who="ann", reason="r", ts=0, cash=1.0))
    world.broker.delete_before(Partition("control", 0), 1)
    with pytest.raises(Fatal, match="control begins at offset 1: halts from before may be lost"):
        await world.start_risk(ROOMY)
    world.risk = None


async def test_a_breach_that_lasts_over_restarts_is_told_once_and_its_end_once(world: World) -> None:
    limits = Limits.convert({"portfolio": {"max_gross_exposure": 450.0, "max_drawdown": 1.0}})
    await world.start_risk(limits)
    await world.fill("buy", 5.0, 100.0)
    await world.quote(100.0)
    for restart in (world.stop_risk, world.kill_risk):
        await restart()
        world.broker.compact("risk")
        await world.start_risk(limits)
        await world.wait(2)
    assert [alert.code for alert in await world.alerts()] == ["GROSS_EXPOSURE"]
    assert len(await world.halts()) == 1
    await world.fill("sell", 1.0, 100.0)
    await world.wait(12)
    assert [(alert.code, alert.severity) for alert in await world.alerts()][1:] == [("GROSS_EXPOSURE_ENDED", "info")]


async def test_a_changed_limit_and_an_adjust_are_not_applied_twice(world: World) -> None:
    await world.start_risk(ROOMY)
    await world.control(Adjust(adjust_id="a", who="ann", reason="r", ts=0, cash=500.0))
    change = LimitsMessage(version=1, changes={"portfolio.max_gross_exposure": 400.0}, who="a", reason="r", ts=0)
    await world.control(change)
    await world.stop_risk()
    risk = await world.start_risk(ROOMY)
    assert risk.ledger.cash_nanos == 1_500 * 10**9
    await world.fill("buy", 5.0, 100.0)
    await world.wait()
    assert [alert.code for alert in await world.alerts()] == ["GROSS_EXPOSURE"]


async def test_halts_outlast_tombstones_garbage_and_resumes_that_name_nothing(world: World) -> None:
    limits = Limits.convert({"portfolio": {"max_gross_exposure": 450.0}})
    await world.start_risk(limits)
    await world.fill("buy", 5.0, 100.0)
    ((offset, halt),) = await world.halts()
    key = f"halt/{halt.scope}/{halt.writer}".encode()
    producer = await world.bus.producer()
    for value in (None, b"", b"{broken", b"\x00"):
        await producer.publish("control", NewRecord(key=key, value=value))
    for clears in ((), (offset + 1,), (10**6,)):
        resume = Resume(scope="portfolio", clears=clears, who="risk-1", reason="r", ts=0)
        await producer.publish("control", NewRecord(key=key, value=encode(resume)))
    await world.broker.settle()
    for _ in range(2):
        await world.kill_risk()
        await world.start_risk(limits)
        assert [in_force.offset for in_force in (await world.fold()).halts.in_force()] == [offset]
        assert [offset for offset, _ in await world.halts()] == [offset]
