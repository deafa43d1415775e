"""The exactness protocol, enumerated: a crash, a freeze and a fence at every operation of an owner.

Meanwhile operators halt, resume, swap, go back and shadow, Risk moves the shard's share, and two instruments are
decided together (EVENTFUL).

Owner A is stopped dead before or after each of its bus operations (every await on the bus and every append). B takes
over. A stays dead (crash), or comes back at some operation of B's (freeze, fence). Reports and control lag. Whatever
happens, the log must hold what it promises.
"""

import pytest

from agents.replay.player import rederive
from messages import LoggedStep
from messages.codec import decode
from tests.agents.execution.exactness_plot import EVENTFUL, Plot, new_shard
from tests.agents.execution.exactness_world import World
from tests.checker import check_shard, steps_of, valid

TICKS = 9
NEVER = -1
LAGS = [(0, 0), (1, 1), (3, 0), (0, 2)]


async def run(
    freeze_a: int,
    thaw_a: int,
    *,
    report_lag: int = 0,
    control_lag: int = 0,
    freeze_b: int = NEVER,
    fencing: bool = True,
    seed: int | None = None,
    plot: Plot = EVENTFUL,
    spoil: bool = False,
) -> World:
    """Freeze A at its operation `freeze_a`, thaw it at B's operation `thaw_a`; freeze B for ever at `freeze_b`.

    `spoil`: when A is frozen, its newest checkpoint no longer agrees with its digest.
    """
    world = World(report_lag=report_lag, control_lag=control_lag, fencing=fencing, seed=seed, plot=plot)
    await world.start()
    freezer = world.freezer
    freezer.freeze_at = {"a": freeze_a, "b": freeze_b}
    world.own("a")
    for _ in range(TICKS):
        await world.tick()
        if "a" in freezer.frozen and "b" not in world.owners:
            if spoil:
                world.spoil_checkpoint()
            if thaw_a != NEVER:
                freezer.freeze_at["b"] = thaw_a
            world.own("b")
        if "b" in freezer.frozen:
            await _release(world, thaw_a)
    await _finish(world, thaw_a)
    return world


async def _release(world: World, thaw_a: int) -> None:
    if thaw_a != NEVER:
        world.freezer.thaw("a")
        await world.settle()
        world.freezer.thaw("b")
        await world.settle()
    elif "c" not in world.owners:
        world.own("c")


async def _finish(world: World, thaw_a: int) -> None:
    """Let whoever owns the shard decide all there is and flush it; when all are fenced or dead, somebody new."""
    for _ in range(40):
        await world.settle()
        if "a" in world.freezer.frozen and "b" not in world.owners:
            if thaw_a != NEVER:
                world.freezer.freeze_at["b"] = thaw_a
            world.own("b")
        if "b" in world.freezer.frozen:
            await _release(world, thaw_a)
        if not world.living():
            world.own("d")
        world.answer(0)
        await world.advance(60_000_000)
        if "a" not in world.freezer.frozen and any(owner.is_done(TICKS) for owner in world.living()):
            break
        if thaw_a != NEVER and any(owner.is_done(TICKS) for owner in world.living()):
            world.freezer.thaw("a")
        elif thaw_a == NEVER and any(owner.is_done(TICKS) for owner in world.living()):
            break
    await world.advance(200_000_000)


def what_is_wrong(world: World) -> list[str]:
    market, orders, decisions = world.records("market"), world.records("orders"), world.records("decisions")
    wrong = check_shard(market=market, orders=orders, decisions=decisions)
    steps: dict[int, LoggedStep] = {}
    for record, _ in valid(decisions):
        for step in decode("decisions", record.value).steps:
            steps.setdefault(step.step.n, step)
    try:
        replayed = rederive(new_shard(world.plot), [steps[n] for n in sorted(steps)], market, world.records("reports"))
    except Exception as error:  # the checker says what is wrong; replay of a broken log may fail anyhow
        return [*wrong, f"replay failed: {error!r}"]
    if replayed.mismatch is not None:
        wrong.append(f"replay differs at step {replayed.mismatch.n}")
    sent = [record.value for record, _ in valid(orders)]
    if list(replayed.orders) != sent:
        wrong.append(f"{len(sent)} orders on the topic, replay gives {len(replayed.orders)}, or other bytes")
    return wrong


async def operations_of_a(report_lag: int, control_lag: int) -> list[str]:
    world = await run(NEVER, NEVER, report_lag=report_lag, control_lag=control_lag)
    points = list(world.freezer.points)
    assert what_is_wrong(world) == []
    await world.stop()
    return points


async def test_an_undisturbed_run_has_all_that_is_to_be_proved_and_keeps_every_promise() -> None:
    world = await run(NEVER, NEVER, report_lag=1, control_lag=1)
    steps, _ = steps_of(world.records("decisions"))
    decisions = [decision for step in steps for decision in step["decisions"]]
    assert [decision["outcome"] for decision in decisions].count("order") >= 8
    assert [d["denial"]["code"] for d in decisions if "denial" in d].count("POLICY_ERROR") == 4
    assert any(d["denial"].get("is_share") for d in decisions if "denial" in d)
    assert {d["shadow"]["target"] for d in decisions if "shadow" in d} == {-3, 0, 3}
    inputs = [applied["type"] for step in steps for applied in step["step"].get("inputs", ())]
    assert inputs.count("BundleActivated") == 6
    assert inputs.count("BundleShadowed") == 2
    assert {len(step["decisions"]) for step in steps} == {2}
    assert what_is_wrong(world) == []
    assert any("append orders" in point for point in world.freezer.points)
    assert any("append checkpoints" in point for point in world.freezer.points)
    await world.stop()


@pytest.mark.parametrize(("report_lag", "control_lag"), LAGS)
async def test_a_crash_at_every_operation_loses_and_repeats_nothing(report_lag: int, control_lag: int) -> None:
    points = await operations_of_a(report_lag, control_lag)
    for at in range(1, len(points) + 1):
        world = await run(at, NEVER, report_lag=report_lag, control_lag=control_lag)
        assert what_is_wrong(world) == [], f"crash {points[at - 1]} (operation {at})"
        await world.stop()


async def test_a_crash_at_every_operation_with_a_spoiled_checkpoint_loses_and_repeats_nothing() -> None:
    points = await operations_of_a(1, 1)
    for at in range(1, len(points) + 1):
        world = await run(at, NEVER, report_lag=1, control_lag=1, spoil=True)
        assert what_is_wrong(world) == [], f"crash {points[at - 1]} (operation {at})"
        await world.stop()


@pytest.mark.parametrize(("report_lag", "control_lag"), LAGS)
async def test_a_frozen_owner_that_comes_back_at_any_operation_of_the_next_changes_nothing(
    report_lag: int, control_lag: int
) -> None:
    points = await operations_of_a(report_lag, control_lag)
    for at in range(1, len(points) + 1):
        for thaw in range(1 + at % 2, 24 if (report_lag, control_lag) == (1, 1) else 6, 2):
            world = await run(at, thaw, report_lag=report_lag, control_lag=control_lag)
            assert what_is_wrong(world) == [], f"freeze {points[at - 1]} (operation {at}), thaw at B's {thaw}"
            await world.stop()


async def test_a_second_crash_during_recovery_loses_and_repeats_nothing() -> None:
    points = await operations_of_a(1, 0)
    for at in range(1, len(points) + 1, 3):
        for second in range(1 + at % 2, 30, 2):
            world = await run(at, NEVER, report_lag=1, freeze_b=second)
            assert what_is_wrong(world) == [], f"crash {points[at - 1]} (operation {at}), then B at {second}"
            await world.stop()


@pytest.mark.parametrize("seed", range(30))
async def test_in_whatever_order_the_tasks_run_a_crash_and_a_freeze_lose_and_repeat_nothing(seed: int) -> None:
    at, thaw = 1 + seed * 7 % 60, 1 + seed * 5 % 20
    for thaw_a in (NEVER, thaw):
        world = await run(at, thaw_a, report_lag=seed % 3, control_lag=seed % 2, seed=seed)
        assert what_is_wrong(world) == [], f"freeze at operation {at}, thaw at B's {thaw_a}"
        await world.stop()


async def test_a_thawed_owner_is_fenced_when_it_next_appends() -> None:
    world = await run(40, 20)
    assert world.owners["a"].error is not None
    await world.stop()


async def test_claims_alone_do_not_protect_the_log_where_the_broker_does_not_fence() -> None:
    """Why the fence is required and not only advised: an owner whose appends are acknowledged, but void, goes on."""
    points = await operations_of_a(0, 0)
    for at in range(1, len(points) + 1):
        for thaw in range(1, 12):
            world = await run(at, thaw, fencing=False)
            wrong = what_is_wrong(world)
            await world.stop()
            if wrong:
                return
    pytest.fail("nothing broke without the fence: is it of any use?")
