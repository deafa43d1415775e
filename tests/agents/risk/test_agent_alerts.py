"""Every limit that the Risk agent watches: told once when it is passed, halted where it says so, told when it ends."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest

from agents.risk.limits.file import Limits
from messages import ReportStatus
from tests.agents.risk.world import World

Act = Callable[[World], Awaitable[None]]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.stop_risk()


async def hold(world: World, mid: float = 100.0) -> None:
    await world.fill("buy", 5.0, 100.0)
    await world.quote(mid)


async def lose(world: World) -> None:
    await hold(world, mid=79.0)


async def recover(world: World) -> None:
    await world.quote(120.0)


async def sell(world: World) -> None:
    await world.fill("sell", 5.0, 100.0)


async def lose_in_a_row(world: World) -> None:
    for _ in range(3):
        await world.fill("buy", 1.0, 100.0)
        await world.fill("sell", 1.0, 99.0)


async def win(world: World) -> None:
    await world.fill("buy", 1.0, 100.0)
    await world.fill("sell", 1.0, 101.0)


async def be_rejected(world: World) -> None:
    for _ in range(5):
        await world.fill("buy", 0.0, 0.0, status=ReportStatus.REJECTED)


async def be_filled(world: World) -> None:
    for _ in range(5):
        await win(world)


async def fall_silent(world: World) -> None:
    await hold(world)
    await world.wait(5)


async def speak(world: World) -> None:
    for _ in range(15):
        await world.quote(100.0)
        await world.wait(1)


async def disagree(world: World) -> None:
    await world.fill("buy", 1.0, 100.0)
    for _ in range(3):
        await world.beat(reports_to=1, positions={"BTC": 2.0})


async def agree(world: World) -> None:
    await world.beat(reports_to=1, positions={"BTC": 1.0})


async def be_slow(world: World) -> None:
    for _ in range(4):
        await world.beat(decision_p99_us=2_000.0)


async def be_quick(world: World) -> None:
    await world.beat(decision_p99_us=20.0)


async def act_at_the_bounds(world: World) -> None:
    for _ in range(4):
        await world.beat(decisions=50, saturated=50)


async def act_freely(world: World) -> None:
    for _ in range(4):
        await world.beat(decisions=50, saturated=5)


async def send_too_many_orders(world: World) -> None:
    await world.beat(throttled=("BTC",))


async def be_halted(world: World) -> None:
    await world.beat(throttled=())


class Case(NamedTuple):
    code: str
    limits: dict[str, float]
    cross: Act
    come_back: Act
    halted: tuple[str, str] | None


CASES = [
    Case("DRAWDOWN", {"max_drawdown": 0.1}, lose, recover, ("portfolio", "halted")),
    Case("DAILY_LOSS", {"max_daily_loss": 100.0, "max_drawdown": 1.0}, lose, recover, ("portfolio", "halted")),
    Case("GROSS_EXPOSURE", {"max_gross_exposure": 450.0}, hold, sell, ("portfolio", "reducing")),
    Case("NET_EXPOSURE", {"max_net_exposure": 450.0}, hold, sell, ("portfolio", "reducing")),
    Case("LOSS_STREAK", {"max_loss_streak": 2}, lose_in_a_row, win, None),
    Case("REJECT_RATIO", {"max_reject_ratio": 0.5, "reject_window": 4}, be_rejected, be_filled, None),
    Case("STALE_MARKET", {"max_market_age_ms": 2_000}, fall_silent, speak, None),
    Case("POSITION_DISAGREEMENT", {}, disagree, agree, ("instrument:BTC", "reducing")),
    Case("DECISION_LATENCY", {"max_decision_p99_us": 1_000.0, "slow_heartbeats": 3}, be_slow, be_quick, None),
    Case(
        "ACTION_SATURATION", {"max_saturated_ratio": 0.9, "saturation_window": 100}, act_at_the_bounds, act_freely, None
    ),
    Case("REPEATED_EXECUTION", {}, send_too_many_orders, be_halted, ("instrument:BTC", "halted")),
]


@pytest.mark.parametrize("case", CASES, ids=[case.code for case in CASES])
async def test_a_limit_is_told_once_a_crossing_and_halts_what_it_says(world: World, case: Case) -> None:
    await world.start_risk(Limits.convert({"portfolio": case.limits}))
    for crossing in (1, 2):
        await case.cross(world)
        await world.wait(2)
        assert [alert.code for alert in await world.alerts()].count(case.code) == crossing
        await case.come_back(world)
        await world.wait(12)
        assert [alert.code for alert in await world.alerts()].count(f"{case.code}_ENDED") == crossing
    found = {(halt.scope, halt.level) for _, halt in await world.halts()}
    assert found == ({case.halted} if case.halted else set())
    assert len(await world.halts()) == len(found)  # it latches: the second crossing finds it in force
    codes = {alert.code for alert in await world.alerts()}
    assert codes <= {case.code, f"{case.code}_ENDED", "STALE_MARKET", "STALE_MARKET_ENDED"}


async def test_each_case_names_its_limit_and_the_value_that_passed_it(world: World) -> None:
    await world.start_risk(Limits.convert({"portfolio": {"max_gross_exposure": 450.0}}))
    await hold(world)
    (alert,) = await world.alerts()
    assert (alert.severity, alert.text) == ("critical", "limit=450 value=500")
