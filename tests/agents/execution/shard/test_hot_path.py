"""Instruments that are due in one step are asked together, and each gets what it would have got alone."""

import numpy as np
import pytest

from agents.execution.shard import Shard
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import ServingBundle, ShardConfig
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits
from bundles.errors import PolicyError
from bundles.features import Floats32
from messages import LoggedStep, LogStarted, Order, Quote, Record, RejectCode, Step, Trade, encode
from messages.decisions import BundleActivated, ControlApplied, RiskAlive, StepInput
from tests.builders import DIGEST, OTHER_DIGEST, START_NS, bundle

NAMES = tuple(f"I{number:02}" for number in range(40))
LONG, KEEP, SHORT = 2.0, 1.0, 0.0


class Watched:
    """Goes long where the spread is wide, else short; notes what it was asked. Fails on a batch if told to."""

    def __init__(self, *, fails_at: float | None = None) -> None:
        self.batches: list[int] = []
        self.singles = 0
        self._fails_at = fails_at

    def act(self, observation: Floats32) -> tuple[float, ...]:
        self.singles += 1
        return self._answer(observation)

    def _answer(self, observation: Floats32) -> tuple[float, ...]:
        spread = float(observation[0])
        if self._fails_at is not None and spread > self._fails_at:
            raise PolicyError(RejectCode.NOT_FINITE, "no answer")
        return (LONG,) if spread > 0.985 else (SHORT,)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        self.batches.append(len(observations))
        return [self._answer(row) for row in observations]


def shard_of_many(*bundles: ServingBundle, names: tuple[str, ...] = NAMES, conflate: bool = True) -> Shard:
    instruments = {name: Instrument(instrument=name, price_step=0.5, quantity_step=1.0) for name in names}
    config = ShardConfig(
        partition=0,
        instruments=instruments,
        strategies=dict.fromkeys(names, "s"),
        decisions=DecisionConfig(conflate=conflate),
    )
    limits = Limits.convert({"defaults": {"duplicate_window_ms": 0, "price_collar_bps": 5_000.0}})
    shard = Shard(config, limits=limits, bundles={one.sha256: one for one in bundles}, partitions=1)
    inputs: list[StepInput] = [ControlApplied(offset=0, message=LogStarted(log_id="L")), RiskAlive(alive=True)]
    for number, name in enumerate(names):
        serving = bundles[number % len(bundles)]
        inputs.append(
            BundleActivated(
                offset=1 + number, strategy="s", instrument=name, bundle_id=serving.bundle_id, sha256=serving.sha256
            )
        )
    shard.step(Step(n=0, market_from=0, market_to=0, clock_ns=START_NS, reports_to=0, inputs=tuple(inputs)), [], [])
    return shard


def quotes(shard: Shard, spreads: dict[str, float]) -> list[Record]:
    """One quote of each instrument; the spread in half units is what the policy sees."""
    records: list[Record] = []
    for name, spread in spreads.items():
        quote = Quote(instrument=name, ts_recv=START_NS, bid=100.0, bid_size=1.0, ask=100.0 + spread, ask_size=1.0)
        records.append(
            Record(
                topic="market",
                partition=0,
                offset=shard.market_to + len(records),
                timestamp_ms=START_NS // 1_000_000,
                key=name.encode(),
                value=encode(quote),
            )
        )
    return records


def step(shard: Shard, records: list[Record]) -> LoggedStep:
    made = Step(
        n=shard.n,
        market_from=shard.market_to,
        market_to=shard.market_to + len(records),
        clock_ns=START_NS,
        reports_to=0,
    )
    return shard.step(made, records, [])


def wide(*, every: int, names: tuple[str, ...] = NAMES) -> dict[str, float]:
    return {name: 2.0 if number % every == 0 else 0.5 for number, name in enumerate(names)}


@pytest.mark.parametrize(("due", "batches", "singles"), [(1, [], 1), (2, [8], 0), (8, [8], 0), (9, [32], 0)])
def test_due_instruments_are_asked_together_padded_to_8_or_32(due: int, batches: list[int], singles: int) -> None:
    policy = Watched()
    shard = shard_of_many(bundle(policy))
    step(shard, quotes(shard, wide(every=2, names=NAMES[:due])))
    assert (policy.batches, policy.singles) == (batches, singles)


def test_more_than_32_are_asked_in_several_batches_and_a_last_one_alone() -> None:
    policy = Watched()
    shard = shard_of_many(bundle(policy))
    step(shard, quotes(shard, wide(every=2, names=NAMES[:33])))
    assert (policy.batches, policy.singles) == ([32], 1)


def test_together_they_decide_what_each_decides_alone() -> None:
    together, alone = shard_of_many(bundle(Watched())), shard_of_many(bundle(Watched()))
    spreads = wide(every=3)
    found = step(together, quotes(together, spreads))
    one_by_one = [step(alone, quotes(alone, {name: spread})) for name, spread in spreads.items()]
    assert found.decisions == tuple(logged.decisions[0] for logged in one_by_one)
    assert [o.side for o in found.orders if isinstance(o, Order)] == [
        o.side for logged in one_by_one for o in logged.orders if isinstance(o, Order)
    ]
    assert together.snapshot() == alone.snapshot()


def test_each_policy_is_asked_its_own_questions() -> None:
    one, other = Watched(), Watched()
    shard = shard_of_many(bundle(one), bundle(other, sha256=OTHER_DIGEST))
    logged = step(shard, quotes(shard, wide(every=2, names=NAMES[:6])))
    assert (one.batches, other.batches) == ([8], [8])
    assert [decision.action for decision in logged.decisions] == [(LONG,), (SHORT,)] * 3
    assert [o.bundle_id for o in logged.orders if isinstance(o, Order)] == [f"bundle-{DIGEST[:4]}", "bundle-bbbb"] * 3


def test_in_a_batch_that_fails_only_the_bad_question_fails() -> None:
    policy = Watched(fails_at=0.999)
    shard = shard_of_many(bundle(policy))
    spreads = wide(every=2, names=NAMES[:6]) | {NAMES[3]: 40.0}
    logged = step(shard, quotes(shard, spreads))
    assert policy.batches == [8]
    said = [
        decision.outcome if decision.denial is None else decision.denial.code.value for decision in logged.decisions
    ]
    assert said == ["order", "order", "order", "POLICY_ERROR", "order", "order"]


def test_only_the_newest_record_of_an_instrument_is_decided_and_features_take_all() -> None:
    policy = Watched()
    shard = shard_of_many(bundle(policy), names=NAMES[:2])
    first = quotes(shard, {NAMES[0]: 2.0, NAMES[1]: 2.0})
    again = [
        Record(
            topic="market", partition=0, offset=2 + index, timestamp_ms=record.timestamp_ms, key=record.key,
            value=record.value,
        )
        for index, record in enumerate(first)
    ]  # fmt: skip
    logged = step(shard, [*first, *again])
    assert [decision.outcome.value for decision in logged.decisions] == ["conflated", "conflated", "order", "order"]
    assert [len(desk.ring) for desk in shard.desks.values()] == [2, 2]


def test_a_trade_that_is_newest_takes_the_quotes_turn_and_the_next_quote_is_asked() -> None:
    policy = Watched()
    shard = shard_of_many(bundle(policy), names=NAMES[:1])
    quote = quotes(shard, {NAMES[0]: 2.0})[0]
    trade = Record(
        topic="market", partition=0, offset=1, timestamp_ms=quote.timestamp_ms, key=quote.key,
        value=encode(Trade(instrument=NAMES[0], ts_recv=START_NS, price=100.0, size=1.0)),
    )  # fmt: skip
    logged = step(shard, [quote, trade])
    assert [decision.outcome.value for decision in logged.decisions] == ["conflated", "order"]


def test_what_a_batch_answers_is_a_function_of_the_step() -> None:
    """A backend may round a batch otherwise than single questions: the same step asks the same batch."""

    class Rounding(Watched):
        def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
            self.batches.append(len(observations))
            return [(LONG,) if np.sum(observations) > 3.95 else (SHORT,)] * len(observations)

    logs = []
    for _ in range(2):
        shard = shard_of_many(bundle(Rounding()))
        logs.append((step(shard, quotes(shard, wide(every=2, names=NAMES[:5]))), shard.snapshot()))
    assert logs[0] == logs[1]
