"""Shares of the portfolio's limits: whatever is late, lost or taken over, together they never exceed the limit."""

import random
from collections.abc import Mapping

import msgspec
import pytest

from agents.errors import SettingsError
from agents.risk.limits.shares import WHOLE, Shares, Standing, Use, first_shares, plan, share_key, standings

LIMIT = 1_000_000.0
START = first_shares(4)


def standing(share: int, used: int | None, *, enforceable: int | None = None, starved: bool = False) -> Standing:
    return Standing(
        share=share,
        enforceable=share if enforceable is None else enforceable,
        used=used,
        is_starved=starved,
        least=WHOLE // 16,
        first=WHOLE // 4,
    )


@pytest.mark.parametrize("partitions", [1, 3, 4, 4096])
def test_the_first_shares_are_equal_and_never_more_than_the_whole(partitions: int) -> None:
    shares = first_shares(partitions)
    assert len(set(shares.gross)) == 1
    assert 0 < sum(shares.gross) <= WHOLE
    assert shares.gross == shares.net


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shares.4.gross": 0.1}, "no partition 4"),
        ({"shares.01.gross": 0.1}, "is no `shares"),
        ({"shares.-1.gross": 0.1}, "is no `shares"),
        ({"shares.0.both": 0.1}, "is no `shares"),
        ({"shares.0": 0.1}, "is no `shares"),
        ({"shares.0.gross": -0.1}, "fraction"),
        ({"shares.0.gross": float("nan")}, "fraction"),
        ({"shares.0.gross": 0.12345678}, "millionths"),
        ({"shares.0.gross": 0.250001}, "add up to 1"),
        ({"shares.0.gross": 0.1, "shares.1.net": 0.3}, "net shares add up"),
    ],
)
def test_an_impossible_share_is_refused_and_the_sum_is_held(changes: Mapping[str, float], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        START.changed(changes)


def test_shares_are_changed_by_fraction() -> None:
    changed = START.changed({"shares.0.gross": 0.1, "shares.3.gross": 0.4})
    assert changed.gross == (100_000, 250_000, 250_000, 400_000)
    assert changed.net == START.net


def test_a_shard_that_uses_nearly_all_is_granted_what_another_has_given_only_then() -> None:
    hungry, idle = standing(250_000, 240_000), standing(750_000, 30_000)
    asked = plan([hungry, idle])
    assert asked == {1: 600_000}
    asleep = standing(600_000, 30_000, enforceable=750_000)
    assert plan([hungry, asleep]) == {}
    assert plan([hungry, standing(600_000, 30_000)]) == {0: 400_000}


def test_what_is_in_use_is_never_taken_and_what_was_used_meanwhile_is_not_granted() -> None:
    hungry = standing(250_000, 240_000)
    assert plan([hungry, standing(750_000, 290_000)]) == {1: 600_000}
    assert plan([hungry, standing(600_000, 700_000)])[0] == 300_000


def test_shards_that_use_a_middling_part_neither_ask_nor_give() -> None:
    assert plan([standing(250_000, 190_000), standing(750_000, 460_000)]) == {}
    assert plan([standing(250_000, 240_000), standing(750_000, 460_000)]) == {}


def test_a_shard_that_has_said_nothing_gives_nothing() -> None:
    assert plan([standing(250_000, 240_000), standing(750_000, None)]) == {}


def test_a_starved_shard_is_granted_more_though_it_uses_nothing() -> None:
    assert plan([standing(100_000, 0, starved=True), standing(900_000, 0)]) == {1: 750_000}
    assert plan([standing(100_000, 0, starved=True), standing(750_000, 0)]) == {0: 250_000}


def test_a_shard_with_instruments_keeps_enough_to_begin_with() -> None:
    given = plan([standing(250_000, 250_000), standing(100_000, 0), standing(100_000, 0), standing(550_000, 350_000)])
    assert min(given.values()) >= WHOLE // 16


def test_the_share_before_a_shrink_counts_until_the_shrink_is_in_the_shards_log() -> None:
    history = [(0, (500_000, 500_000)), (8, (200_000, 500_000)), (12, (200_000, 800_000))]

    def enforceable(control_to: int) -> int:
        uses = {0: Use(control_to=control_to)}
        return standings(history, uses, budget="gross", limit=LIMIT, traded=frozenset({0, 1}))[0].enforceable

    assert [enforceable(to) for to in (0, 7, 8, 20)] == [500_000, 500_000, 200_000, 200_000]
    unheard = standings(history, {}, budget="gross", limit=LIMIT, traded=frozenset())
    assert [shard.enforceable for shard in unheard] == [500_000, 800_000]
    assert [shard.used for shard in unheard] == [None, None]


class Shard(msgspec.Struct):
    """A shard: `applied` is what its owner knows of `control`, `logged` what every later owner will know, too."""

    used: int = 0
    applied: int = 0
    logged: int = 0


class Cluster:
    """Shards that trade up to their share, owners that die, two Risk agents that race, heartbeats that come late.

    `control` is a list of share tables: the one at offset n is in force from n + 1 on.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.shards = [Shard() for _ in range(self.random.randint(2, 4))]
        self.control: list[Shares] = []
        self.beats: list[tuple[int, Use]] = []
        self.heard: list[dict[int, Use]] = [{}, {}]
        self.grown = 0

    def run(self, steps: int) -> None:
        acts = (
            self.order,
            self.reduce,
            self.read_control,
            self.flush,
            self.take_over,
            self.beat,
            self.hear,
            self.think,
        )
        weights = (6, 2, 4, 3, 2, 4, 4, 3)
        for act in self.random.choices(acts, weights, k=steps):
            act()
            assert sum(self.worst()) <= WHOLE
        self.restart_risk()

    def shares_at(self, control_to: int) -> tuple[int, ...]:
        return self.control[control_to - 1].gross if control_to else first_shares(len(self.shards)).gross

    def any_shard(self) -> tuple[int, Shard]:
        number = self.random.randrange(len(self.shards))
        return number, self.shards[number]

    def worst(self) -> list[int]:
        """What each may have if it is taken over now, and the next owner reads as much of `control` as is worst."""
        ends = range(len(self.control) + 1)
        return [
            max([shard.used, *(self.shares_at(to)[number] for to in ends if to >= shard.logged)])
            for number, shard in enumerate(self.shards)
        ]

    def order(self) -> None:
        """An order goes out with its log: all that the owner knows is in the log then."""
        number, shard = self.any_shard()
        wanted = self.shares_at(shard.applied)[number] * self.random.choice((20, 50, 90, 100, 100)) // 100
        if wanted > shard.used:
            shard.used, shard.logged = wanted, shard.applied

    def reduce(self) -> None:
        _, shard = self.any_shard()
        shard.used = shard.used * self.random.choice((0, 0, 30, 70)) // 100

    def read_control(self) -> None:
        _, shard = self.any_shard()
        shard.applied = min(len(self.control), shard.applied + self.random.randint(1, 3))

    def flush(self) -> None:
        _, shard = self.any_shard()
        shard.logged = shard.applied

    def take_over(self) -> None:
        """The next owner knows what the log holds, however far the one before had read."""
        _, shard = self.any_shard()
        shard.applied = shard.logged

    def beat(self) -> None:
        number, shard = self.any_shard()
        self.beats.append((number, self.told_by(shard)))

    def told_by(self, shard: Shard) -> Use:
        return Use(control_to=shard.logged, gross=shard.used * LIMIT / WHOLE)

    def hear(self) -> None:
        """Any late heartbeat may come now, to one agent, or again."""
        if self.beats:
            number, use = self.random.choice(self.beats[-6:])
            heard = self.random.choice(self.heard)
            known = heard.get(number)
            if known is None or use.control_to >= known.control_to:
                heard[number] = use

    def restart_risk(self) -> None:
        self.heard = [{}, {}]

    def think(self) -> None:
        """Plan on what this agent has heard; sometimes the other one is first, and then the record is void."""
        if self.random.random() < 0.02:
            self.restart_risk()
        agents = self.random.choice(((0,), (1,), (0, 1)))
        version = len(self.control)
        for changes in [self.planned(agent) for agent in agents]:
            if changes and version == len(self.control):
                now = self.shares_at(version)
                self.grown += any(part > now[number] for number, part in changes.items())
                shares = Shares(gross=now, net=now)
                parts = {share_key(number, "gross"): part / WHOLE for number, part in changes.items()}
                self.control.append(shares.changed(parts))

    def planned(self, agent: int) -> dict[int, int]:
        history = [(offset, self.shares_at(offset)) for offset in range(len(self.control) + 1)]
        traded = frozenset(range(len(self.shards)))
        return plan(standings(history, self.heard[agent], budget="gross", limit=LIMIT, traded=traded))


def run_many(clusters: int) -> int:
    """How often a share was made larger in all of them."""
    grown = 0
    for seed in range(clusters):
        cluster = Cluster(seed)
        cluster.run(200)
        grown += cluster.grown
    return grown


def test_whatever_is_late_lost_or_taken_over_the_limit_holds_for_any_next_owner() -> None:
    assert run_many(800) > 1_000


def test_an_acknowledgement_that_is_not_in_the_log_yet_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_memory(_: Cluster, shard: Shard) -> Use:
        return Use(control_to=shard.applied, gross=shard.used * LIMIT / WHOLE)

    monkeypatch.setattr(Cluster, "told_by", of_memory)
    with pytest.raises(AssertionError):
        run_many(800)


def test_shares_follow_what_is_in_use_and_settle() -> None:
    """In order: every shard is heard, and reads all. Demand of 58 % of the limit is met wherever it is."""
    rng = random.Random(7)
    shares, history = first_shares(4), [(0, first_shares(4).gross)]
    for _ in range(20):
        parts = [rng.random() for _ in range(4)]
        demand = [int(0.58 * WHOLE * part / sum(parts)) for part in parts]
        used = [0] * 4
        for _ in range(40):
            used = [min(want, share) for want, share in zip(demand, shares.gross, strict=True)]
            uses = {
                number: Use(
                    control_to=10**9,
                    gross=money * LIMIT / WHOLE,
                    starved=frozenset({"gross"} if money < demand[number] else ()),
                )
                for number, money in enumerate(used)
            }
            changes = plan(standings(history, uses, budget="gross", limit=LIMIT, traded=frozenset(range(4))))
            if not changes:
                break
            shares = shares.changed({share_key(number, "gross"): part / WHOLE for number, part in changes.items()})
            history = [(0, shares.gross)]
        assert used == demand
        assert plan(standings(history, uses, budget="gross", limit=LIMIT, traded=frozenset(range(4)))) == {}
