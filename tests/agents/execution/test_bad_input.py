"""A flood of garbage on `market`, through the runner and the bus: careful trading, an Alert, nothing lost, and back."""

from agents.replay.player import rederive
from messages import Alert, DeadLetter, LoggedStep, NewRecord, Partition, decode
from tests.agents.execution.exactness_plot import TICK_NS, new_shard
from tests.agents.execution.exactness_world import World
from tests.checker import valid

MARKET = Partition("market", 0)
FLOOD = 3_000


def steps_of(world: World) -> list[LoggedStep]:
    steps: dict[int, LoggedStep] = {}
    for record, _ in valid(world.records("decisions")):
        for step in decode("decisions", record.value).steps:
            steps.setdefault(step.step.n, step)
    return [steps[n] for n in sorted(steps)]


def codes(world: World) -> list[str]:
    decisions = [decision for step in steps_of(world) for decision in step.decisions]
    return [str(d.denial.code) if d.denial is not None else d.outcome.value for d in decisions]


def alerts(world: World) -> list[Alert]:
    return [decode("risk", record.value) for record in world.records("risk")]


def flood(world: World, count: int) -> None:
    world.broker.append(MARKET, [NewRecord(key=b"X", value=b"{garbage %d" % n) for n in range(count)])


async def trade(world: World, ticks: int) -> None:
    for _ in range(ticks):
        await world.tick()


async def test_a_flood_brings_careful_trading_an_alert_and_every_dead_letter_and_then_trading_resumes() -> None:
    world = World()
    await world.start()
    world.own("a")
    await trade(world, 12)
    flood(world, FLOOD)
    await trade(world, 20)
    assert world.living()
    (begun,) = alerts(world)
    assert (begun.code, begun.severity) == ("BAD_INPUT", "critical")
    assert "market-0: 50 records since offset 12 " in begun.text
    during = codes(world)[12 + FLOOD :]
    assert "BAD_INPUT" in during

    await world.advance(10_000_000_000)
    before = len(codes(world))
    await trade(world, 120)
    await world.advance(200_000_000)
    assert [alert.code for alert in alerts(world)] == ["BAD_INPUT", "INPUT_GOOD_AGAIN"]
    assert alerts(world)[0].alert_id == alerts(world)[1].alert_id
    assert "order" in codes(world)[before + 100 :]
    assert "BAD_INPUT" not in codes(world)[-10:]

    letters: list[DeadLetter] = [decode("dead-letters", record.value) for record in world.records("dead-letters")]
    assert [letter.value for letter in letters] == [b"{garbage %d" % n for n in range(FLOOD)]
    replayed = rederive(new_shard(), steps_of(world), world.records("market"), world.records("reports"))
    assert replayed.mismatch is None
    await world.stop()


async def test_a_new_owner_goes_on_being_careful_and_tells_it_again() -> None:
    world = World()
    await world.start()
    world.own("a")
    await trade(world, 3)
    flood(world, 60)
    await world.advance(200_000_000)
    world.own("b")
    await trade(world, 9)
    await world.advance(200_000_000)
    assert {alert.code for alert in alerts(world)} == {"BAD_INPUT"}
    assert {alert.alert_id for alert in alerts(world)} == {"bad-input/market-0/3"}
    runner = world.owners["b"].runner
    assert runner is not None
    assert set(runner.shard.intakes.unreadable) == {"market"}
    await world.stop()


async def test_what_waits_for_dead_letters_is_bounded_while_the_bus_does_not_take_them() -> None:
    """The flood stays on the topic, where there is room for it."""
    world = World()
    await world.start()
    world.own("a")
    await trade(world, 2)
    runner = world.owners["a"].runner
    assert runner is not None
    async with runner._flushing:  # as if the broker took its time
        for _ in range(40):
            world.broker.append(MARKET, [NewRecord(key=b"X", value=b"x" * 400_000) for _ in range(2)])
            await world.settle()
        waiting = runner._dead
        assert not runner.has_room
        assert waiting._bytes < 8 * 2**20 + 64 * 600_000
        assert world.owners["a"].market_to < 82
    await world.advance(TICK_NS * 100)
    assert world.owners["a"].market_to == 82
    await world.advance(TICK_NS * 100)
    letters = [decode("dead-letters", record.value) for record in world.records("dead-letters")]
    assert sum(letter.part == 0 for letter in letters) == 80
    await world.stop()
