"""Risk moves shares of the portfolio's limits to where they are used: a shrink is in the log before another grows."""

from collections.abc import AsyncIterator

import pytest

from agents.risk.config import RiskConfig, ShareConfig
from agents.risk.limits.file import Limits
from agents.risk.limits.in_force import LimitsInForce
from agents.risk.watch.share_moves import ShareMoves
from messages import Heartbeat, decode
from messages import Limits as LimitsMessage
from messages.bus.partitioner import partition_of
from messages.bus.reading import read_all
from messages.control_fold import ControlFold
from messages.status import ShardStatus
from tests.agents.risk.market import INSTRUMENTS
from tests.agents.risk.world import SHARDS, World

FILE = Limits.convert({"portfolio": {"max_gross_exposure": 1_000.0, "max_net_exposure": 1_000.0}})
SECOND = 1_000_000_000
BTC = partition_of(b"BTC", SHARDS)
OTHER = 1 - BTC


class Cluster:
    """Two shards that go by what `control` says, one beat a second; the first offset is 0."""

    def __init__(self) -> None:
        self.moves = self.restarted()
        self.control: list[LimitsMessage] = []
        self.in_force = LimitsInForce(FILE, partitions=SHARDS)
        self.now_ns = 0

    def restarted(self) -> ShareMoves:
        return ShareMoves(FILE, INSTRUMENTS, ShareConfig(), "risk-1", partitions=SHARDS)

    def beat(self, *, logged_to: int | None = None, only: int | None = None, **used: float) -> None:
        """`used` by shard: `btc` or `other`, of the gross limit."""
        self.now_ns += 10 * SECOND
        amounts = {BTC: used.get("btc", 0.0), OTHER: used.get("other", 0.0)}
        shards = tuple(
            ShardStatus(
                partition=number,
                control_to=len(self.control),
                reports_to=0,
                control_logged_to=len(self.control) if logged_to is None else logged_to,
                gross_used=amounts[number],
            )
            for number in (BTC, OTHER)
            if only in (None, number)
        )
        beat = Heartbeat(agent_id="execution-1", agent="execution", ts=self.now_ns, state="live", shards=shards)
        self.moves.hear(beat, self.now_ns)

    def move(self) -> dict[str, float]:
        """What Risk writes now; it is read back at once."""
        message = self.moves.propose(self.now_ns, len(self.control))
        if message is None:
            return {}
        assert self.moves.changed(len(self.control), message) is None
        assert self.in_force.apply(message.changes) is None
        self.control.append(message)
        return message.changes


def key(number: int) -> str:
    return f"shares.{number}.gross"


def test_a_share_grows_only_when_the_others_shrink_is_in_its_log() -> None:
    cluster = Cluster()
    cluster.beat(btc=450.0)
    assert cluster.move() == {key(OTHER): 0.25}
    cluster.beat(btc=450.0, logged_to=0)
    assert cluster.move() == {}
    cluster.beat(btc=450.0)
    assert cluster.move() == {key(BTC): 0.75}
    cluster.beat(btc=450.0)
    assert cluster.move() == {}


def test_the_reason_tells_what_moves() -> None:
    cluster = Cluster()
    cluster.beat(btc=450.0)
    cluster.move()
    assert cluster.control[0].reason == f"shares: gross {OTHER} 0.500 -> 0.250"
    assert (cluster.control[0].who, cluster.control[0].version) == ("risk-1", 1)


def test_a_restart_in_the_middle_of_a_move_ends_it() -> None:
    cluster = Cluster()
    cluster.beat(btc=450.0)
    cluster.move()
    cluster.moves = cluster.restarted()
    for offset, message in enumerate(cluster.control):
        cluster.moves.changed(offset, message)
    assert cluster.move() == {}
    cluster.beat(btc=450.0)
    assert cluster.move() == {key(BTC): 0.75}


def test_a_silent_shard_is_not_asked_and_does_not_hold_up_the_others() -> None:
    cluster = Cluster()
    cluster.beat(btc=100.0)
    cluster.beat(btc=450.0, only=BTC)
    assert cluster.move() == {}


def test_moves_are_rare() -> None:
    cluster = Cluster()
    cluster.beat(btc=450.0)
    assert cluster.moves.propose(cluster.now_ns, 0) is not None
    assert cluster.moves.propose(cluster.now_ns + 4 * SECOND, 0) is None
    assert cluster.moves.propose(cluster.now_ns + 5 * SECOND, 0) is not None


def test_what_is_remembered_is_bounded_though_a_shard_never_answers() -> None:
    cluster = Cluster()
    for index in range(1_000):
        changes = {"shares.0.gross": 0.1 + index % 2 / 10}
        cluster.moves.changed(index, LimitsMessage(version=1, changes=changes, who="r", reason="r", ts=0))
    assert len(cluster.moves._history) <= 64


def test_an_impossible_change_is_told_and_changes_nothing() -> None:
    moves = Cluster().moves
    wrong = LimitsMessage(version=1, changes={"portfolio.max_drawdown": 7.0}, who="a", reason="r", ts=0)
    assert "max_drawdown" in str(moves.changed(0, wrong))
    assert moves.limits == FILE


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.stop_risk()


async def moved(world: World) -> list[dict[str, float]]:
    """What `control` holds of shares, each valid."""
    records, _ = await read_all(world.bus, ["control"])
    fold, found = ControlFold(), []
    for record in records:
        message = decode("control", record.value)
        assert fold.apply(record.offset, message)
        if isinstance(message, LimitsMessage):
            found.append(message.changes)
    return found


async def test_the_agent_moves_shares_through_control(world: World) -> None:
    await world.start_risk(FILE, RiskConfig(shares=ShareConfig(interval_ms=1_000)))
    for logged_to in (0, 0, 1, 1):
        for number, used in ((BTC, 450.0), (OTHER, 0.0)):
            await world.beat(partition=number, control_logged_to=logged_to, gross_used=used)
        await world.wait(2)
    assert await moved(world) == [{key(OTHER): 0.25}, {key(BTC): 0.75}]


async def test_a_race_that_is_lost_is_made_up_for(world: World) -> None:
    await world.start_risk(FILE, RiskConfig(shares=ShareConfig(interval_ms=1_000)))
    operator = {"defaults.max_position": 3.0}
    await world.control(LimitsMessage(version=1, changes=operator, who="ann", reason="r", ts=0))
    for number, used in ((BTC, 450.0), (OTHER, 0.0)):
        await world.beat(partition=number, control_logged_to=1, gross_used=used)
    await world.wait(2)
    assert await moved(world) == [operator, {key(OTHER): 0.25}]
