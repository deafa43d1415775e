"""Bundles of several strategies in one shard: each trades its own instruments, and a swap of one leaves the other."""

import msgspec

from agents.execution.shard import Shard
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import ServingBundle, ShardConfig
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits
from messages import Halt, LoggedStep, LogStarted, Order, Quote, Record, Step, encode
from messages.decisions import BundleActivated, ControlApplied, RiskAlive, StepInput
from tests.agents.execution.stepping import LONG, SHORT, said
from tests.builders import DIGEST, OTHER_DIGEST, START_NS, Scripted, bundle

STRATEGIES = {"AAA": "momentum", "BBB": "carry"}


def of(strategy: str, policy: Scripted, sha256: str) -> ServingBundle:
    return msgspec.structs.replace(
        bundle(policy, sha256=sha256), strategy=strategy, bundle_id=f"{strategy}-{sha256[0]}"
    )


def activated(serving: ServingBundle, instrument: str, offset: int) -> BundleActivated:
    return BundleActivated(
        offset=offset,
        strategy=serving.strategy,
        instrument=instrument,
        bundle_id=serving.bundle_id,
        sha256=serving.sha256,
    )


def shard_of_two(*bundles: ServingBundle) -> Shard:
    config = ShardConfig(
        partition=0,
        instruments={name: Instrument(instrument=name, price_step=0.5, quantity_step=1.0) for name in STRATEGIES},
        strategies=STRATEGIES,
        decisions=DecisionConfig(conflate=False),
    )
    limits = Limits.convert({"defaults": {"duplicate_window_ms": 0}})
    return Shard(config, limits=limits, bundles={one.sha256: one for one in bundles}, partitions=1)


def step(shard: Shard, *inputs: StepInput) -> LoggedStep:
    """One quote of each instrument."""
    market = [
        Record(
            topic="market",
            partition=0,
            offset=shard.market_to + index,
            timestamp_ms=START_NS // 1_000_000,
            key=name.encode(),
            value=encode(Quote(instrument=name, ts_recv=START_NS, bid=100.0, bid_size=5.0, ask=100.5, ask_size=5.0)),
        )
        for index, name in enumerate(STRATEGIES)
    ]
    made = Step(
        n=shard.n,
        market_from=shard.market_to,
        market_to=shard.market_to + len(market),
        clock_ns=START_NS,
        reports_to=0,
        inputs=inputs,
    )
    return shard.step(made, market, [])


def sent(logged: LoggedStep) -> list[tuple[str, str, str, str]]:
    return [(o.instrument, o.strategy, o.bundle_id, o.side) for o in logged.orders if isinstance(o, Order)]


def test_each_strategy_trades_its_own_instruments_and_is_swapped_alone() -> None:
    momentum, carry = of("momentum", Scripted(LONG), "1" * 64), of("carry", Scripted(SHORT), "2" * 64)
    newer = of("carry", Scripted(LONG), "3" * 64)
    shard = shard_of_two(momentum, carry, newer)
    ready = (ControlApplied(offset=0, message=LogStarted(log_id="L")), RiskAlive(alive=True))
    first = step(shard, *ready, activated(momentum, "AAA", 1), activated(carry, "BBB", 2))
    assert sent(first) == [("AAA", "momentum", "momentum-1", "buy"), ("BBB", "carry", "carry-2", "sell")]
    second = step(shard, activated(newer, "BBB", 3))
    assert sent(second) == [("BBB", "carry", "carry-3", "buy")]
    assert said(second) == ["hold", "order"]
    active = {name: desk.active.bundle_id for name, desk in shard.desks.items() if desk.active is not None}
    assert active == {"AAA": "momentum-1", "BBB": "carry-3"}


def test_a_halt_of_one_strategy_leaves_the_other_trading() -> None:
    momentum = of("momentum", Scripted(LONG, SHORT), DIGEST)
    carry = of("carry", Scripted(LONG, SHORT), OTHER_DIGEST)
    shard = shard_of_two(momentum, carry)
    ready = (ControlApplied(offset=0, message=LogStarted(log_id="L")), RiskAlive(alive=True))
    halt = Halt(scope="strategy:carry", level="halted", writer="me", reason="test", ts=0)
    step(shard, *ready, activated(momentum, "AAA", 1), activated(carry, "BBB", 2))
    assert said(step(shard, ControlApplied(offset=3, message=halt))) == ["order", "HALTED"]
