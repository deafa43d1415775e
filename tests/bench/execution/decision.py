"""One decision, tick bytes in to order bytes out, against the bare frozen forward of the same 64x64 policy.

Rounds alternate between the two in one process; medians over the rounds.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple, get_args

import msgspec
import numpy as np
import torch

from agents.assembly import scope_of
from agents.demo.plan import STRATEGY, DemoOptions, DemoPlan, environment_of, make_plan
from agents.execution.scope import shard_of
from agents.execution.shard import Shard
from agents.execution.shard.step import Policy, ServingBundle
from agents.execution.staging import serving
from agents.lifecycle.garbage import calm_garbage_collector
from agents.settings import parse_settings
from bundles.export import export_module
from bundles.features import Floats32
from bundles.latency import Call, bare_call
from bundles.loader import load_bundle
from bundles.manifest import POLICY_NAME
from bundles.runtimes.choice import RuntimeName
from bundles.signing import SigningKey, TrustStore
from messages import LogStarted, Order, Record, Step, encode
from messages.bus.partitioner import partition_of
from messages.decisions import BundleActivated, ControlApplied, RiskAlive, StepInput
from messages.market import MarketMessage
from tests import builders
from tests.bench.execution.networks import Network
from tests.bench.measure import median, percentile, result

ROUNDS, STEPS = 7, 6_000
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
LIMITS = {
    "duplicate_window_ms": 0,
    "max_messages_per_s": 1_000_000,
    "max_repeated_executions": 10_000_000,
    "price_collar_period_bps": 10_000,
}
Microseconds = list[float]


class World(NamedTuple):
    """The same bundle, served by each backend, the bare call of its policy, and a market."""

    plan: DemoPlan
    bundles: dict[RuntimeName, ServingBundle]
    bare: Call
    market: list[Record]
    size: int


def make_world(home: Path) -> World:
    """Export and load the policy, and make the market."""
    (home / "trust").mkdir()
    environment_settings = {"environment": {"actions": {"kind": "levels", "max_position": 1.0}}}
    settings = parse_settings({"trainer": environment_settings, "limits": {"defaults": LIMITS}})
    plan = make_plan(DemoOptions(ticks=STEPS), home, settings)
    key, environment = SigningKey.generate(), environment_of(plan)
    size = environment.features.size
    directory = export_module(
        Network(size),
        out_dir=home,
        obs_shape=(size,),
        strategy=STRATEGY,
        instruments=plan.settings.strategies[STRATEGY],
        features=environment.features,
        actions=environment.actions,
        sequence=1,
        created=1,
        key=key,
        run_name="network",
        formats=("onnx",),
    )
    trust = TrustStore.of([key])
    loaded = {name: load_bundle(directory, trust=trust, runtime=name) for name in RUNTIMES}
    call = bare_call(loaded["torchscript"].files[POLICY_NAME], (size,))
    bundles = {name: serving(bundle) for name, bundle in loaded.items()}
    return World(plan, bundles, call, _records(plan.messages), size)


def _records(messages: Iterable[MarketMessage]) -> list[Record]:
    records: list[Record] = []
    for message in messages:
        key = message.instrument.encode()
        assert partition_of(key, 1) == 0
        records.append(
            Record(
                topic="market",
                partition=0,
                offset=len(records),
                timestamp_ms=message.ts_recv // 1_000_000,
                key=key,
                value=encode(message),
            )
        )
    return records


class Restless:
    """Asks the policy, and then wants to be long and short in turn: an order at each tick."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self._is_long = policy, False

    def act(self, observation: Floats32) -> tuple[float, ...]:
        self._policy.act(observation)
        self._is_long = not self._is_long
        return (2.0,) if self._is_long else (0.0,)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


def live_shard(world: World, bundle: ServingBundle) -> Shard:
    """Return a shard on which the bundle trades every instrument."""
    settings = world.plan.settings
    shard = shard_of(scope_of(settings), 0, 1, settings.execution, {bundle.sha256: bundle})
    inputs: list[StepInput] = [ControlApplied(offset=0, message=LogStarted(log_id="bench")), RiskAlive(alive=True)]
    for offset, name in enumerate(shard.desks, start=1):
        inputs.append(
            BundleActivated(
                offset=offset, strategy=STRATEGY, instrument=name, bundle_id=bundle.bundle_id, sha256=bundle.sha256
            )
        )
    shard.step(Step(n=0, market_from=0, market_to=0, clock_ns=0, reports_to=0, inputs=tuple(inputs)), [], [])
    return shard


class Decider:
    """Feeds a shard tick by tick; what the venue answers is booked in a step of its own before the next tick."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._orders: Sequence[Order] = ()
        self.quiet: Microseconds = []
        self.ordered: Microseconds = []
        self.booked: Microseconds = []

    def decide(self, record: Record) -> None:
        """Time a step in which the policy was asked: nothing went out, or an order did."""
        self._book()
        shard = self._shard
        began = perf_counter_ns()
        step = Step(
            n=shard.n,
            market_from=record.offset,
            market_to=record.offset + 1,
            clock_ns=max(record.timestamp_ms * 1_000_000, shard.clock_ns),
            reports_to=shard.reports_to,
        )
        logged = shard.step(step, (record,), ())
        for order in logged.orders:
            encode(order)
        took_us = (perf_counter_ns() - began) / 1e3
        if logged.decisions[0].action is not None:
            (self.ordered if logged.orders else self.quiet).append(took_us)
        self._orders = [order for order in logged.orders if isinstance(order, Order)]

    def _book(self) -> None:
        if not self._orders:
            return
        shard = self._shard
        reports = [_filled(order, shard.reports_to + index) for index, order in enumerate(self._orders)]
        began = perf_counter_ns()
        step = Step(
            n=shard.n,
            market_from=shard.market_to,
            market_to=shard.market_to,
            clock_ns=shard.clock_ns,
            reports_to=shard.reports_to + len(reports),
        )
        shard.step(step, (), reports)
        self.booked.append((perf_counter_ns() - began) / 1e3)


def _filled(order: Order, offset: int) -> Record:
    value = encode(builders.report(order, at=order.seq))
    return Record(topic="reports", partition=0, offset=offset, timestamp_ms=0, key=None, value=value)


def one_round(world: World, bundle: ServingBundle) -> Decider:
    """Decide on the whole market, as fast as it goes."""
    decider = Decider(live_shard(world, bundle))
    for record in world.market:
        decider.decide(record)
    return decider


def bare_round(world: World) -> Microseconds:
    """Time the bare call."""
    nothing, samples = np.zeros(world.size, np.float32), []
    with torch.no_grad():
        for _ in range(STEPS):
            began = perf_counter_ns()
            world.bare(nothing)
            samples.append((perf_counter_ns() - began) / 1e3)
    return samples


def hot_figures(world: World) -> list[dict[str, Any]]:
    """Decisions against the bare call, in alternating rounds."""
    bare: list[Microseconds] = []
    rounds: dict[RuntimeName, list[tuple[Decider, Decider]]] = {name: [] for name in RUNTIMES}
    for _ in range(ROUNDS):
        bare.append(bare_round(world))
        for name, bundle in world.bundles.items():
            restless = msgspec.structs.replace(bundle, policy=Restless(bundle.policy))
            rounds[name].append((one_round(world, bundle), one_round(world, restless)))
    calls = {percent: median([percentile(times, percent) for times in bare]) for percent in (50, 99)}
    return [line for name in RUNTIMES for line in _hot_lines(name, rounds[name], calls)]


def _hot_lines(name: str, rounds: list[tuple[Decider, Decider]], calls: dict[int, float]) -> list[dict[str, Any]]:
    quiet = [own.quiet for own, _ in rounds]
    parts: tuple[tuple[str, list[Microseconds], int, float | None], ...] = (
        ("without order", quiet, 50, 1.25),
        ("without order", quiet, 99, 1.5),
        ("with an order, at each tick", [restless.ordered for _, restless in rounds], 50, 1.5),
        ("with an order, at each tick", [restless.ordered for _, restless in rounds], 99, None),
        ("with an order, now and then", [own.ordered for own, _ in rounds], 50, None),
        ("booking a report", [restless.booked for _, restless in rounds], 50, None),
    )
    lines = []
    for what, samples, percent, most in parts:
        value = median([percentile(times, percent) for times in samples])
        lines.append(
            result(
                f"decision {what}, {name}, p{percent}",
                value,
                "us",
                baseline=calls[percent],
                target="" if most is None else f"<= {most}x",
                passed=None if most is None else value <= most * calls[percent],
            )
        )
    return lines


def results() -> list[dict[str, Any]]:
    """Measure, and return the figures of each backend."""
    with tempfile.TemporaryDirectory() as home:
        world = make_world(Path(home))
        calm_garbage_collector()  # as every process of agents does
        return hot_figures(world)
