"""One decision, tick bytes in to order bytes out, against the bare frozen forward of the same 64x64 policy.

Rounds alternate between the two in one process; medians over the rounds.
"""

import tempfile
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple, get_args

import numpy as np
import torch

from agents.assembly import scope_of
from agents.demo.plan import STRATEGY, DemoOptions, DemoPlan, environment_of, make_plan
from agents.execution.scope import shard_of
from agents.execution.shard import Shard
from agents.execution.staging import serving
from agents.execution.step import ServingBundle
from agents.lifecycle.garbage import calm_garbage_collector
from agents.settings import parse_settings
from bundles.export import export_module
from bundles.latency import Call, bare_call
from bundles.loader import load_bundle
from bundles.manifest import POLICY_NAME
from bundles.runtimes.choice import RuntimeName
from bundles.signing import SigningKey, TrustStore
from messages import LogStarted, Order, Record, Step, encode
from messages.bus.partitioner import partition_of
from messages.decisions import BundleActivated, ControlApplied, RiskAlive, StepInput
from tests import builders
from tests.bench.execution.networks import Network
from tests.bench.measure import median, percentile, result

ROUNDS, STEPS = 7, 6_000
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)


def make_bundles(plan: DemoPlan, home: Path) -> tuple[dict[RuntimeName, ServingBundle], Call]:
    """The same bundle, served by each backend, and the bare call of its policy."""
    key = SigningKey.generate()
    environment = environment_of(plan)
    directory = export_module(
        Network(environment.features.size),
        out_dir=home,
        obs_shape=(environment.features.size,),
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
    call = bare_call(loaded["torchscript"].files[POLICY_NAME], (environment.features.size,))
    return {name: serving(bundle) for name, bundle in loaded.items()}, call


def live_shard(plan: DemoPlan, bundle: ServingBundle) -> Shard:
    shard = shard_of(scope_of(plan.settings), 0, 1, plan.settings.execution, {bundle.sha256: bundle})
    inputs: list[StepInput] = [ControlApplied(offset=0, message=LogStarted(log_id="bench")), RiskAlive(alive=True)]
    for offset, name in enumerate(shard.desks, start=1):
        inputs.append(
            BundleActivated(
                offset=offset, strategy=STRATEGY, instrument=name, bundle_id=bundle.bundle_id, sha256=bundle.sha256
            )
        )
    shard.step(Step(n=0, market_from=0, market_to=0, clock_ns=0, reports_to=0, inputs=tuple(inputs)), [], [])
    return shard


def market(plan: DemoPlan) -> list[Record]:
    records: list[Record] = []
    for message in plan.messages:
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


class Round(NamedTuple):
    """Microseconds of steps in which the policy was asked: nothing went out, an order did, a report was booked too."""

    quiet: list[float]
    ordered: list[float]
    booked: list[float]


def one_round(shard: Shard, records: list[Record]) -> Round:
    times = Round([], [], [])
    reports: list[Record] = []
    for record in records:
        began = perf_counter_ns()
        step = Step(
            n=shard.n,
            market_from=record.offset,
            market_to=record.offset + 1,
            clock_ns=max(record.timestamp_ms * 1_000_000, shard.clock_ns),
            reports_to=shard.reports_to + len(reports),
        )
        logged = shard.step(step, (record,), reports)
        for order in logged.orders:
            encode(order)
        took_us = (perf_counter_ns() - began) / 1e3
        if logged.decisions[0].action is not None:
            (times.booked if reports else times.ordered if logged.orders else times.quiet).append(took_us)
        reports = [answer(order, shard.reports_to) for order in logged.orders if isinstance(order, Order)]
    return times


def answer(order: Order, offset: int) -> Record:
    """The venue fills every order at once."""
    value = encode(builders.report(order))
    return Record(topic="reports", partition=0, offset=offset, timestamp_ms=0, key=None, value=value)


def bare_round(call: Call, size: int) -> list[float]:
    nothing = np.zeros(size, np.float32)
    samples = []
    with torch.no_grad():
        for _ in range(STEPS):
            began = perf_counter_ns()
            call(nothing)
            samples.append((perf_counter_ns() - began) / 1e3)
    return samples


def figures(name: RuntimeName, rounds: list[Round], bare: dict[int, float]) -> list[Any]:
    """Medians over the rounds, against the bare call's."""
    quiet = [times.quiet for times in rounds]
    parts: tuple[tuple[str, list[list[float]], int, float | None], ...] = (
        ("without order", quiet, 50, 1.25),
        ("without order", quiet, 99, 1.5),
        ("with order", [times.ordered for times in rounds], 50, 1.5),
        ("that books a report", [times.booked for times in rounds], 50, None),
    )
    results = []
    for what, samples, percent, most in parts:
        value = median([percentile(times, percent) for times in samples])
        results.append(
            result(
                f"decision {what}, {name}, p{percent}",
                value,
                "us",
                baseline=bare[percent],
                target="" if most is None else f"<= {most}x",
                passed=None if most is None else value <= most * bare[percent],
            )
        )
    return results


def results() -> list[dict[str, Any]]:
    """Measure, and return the figures of each backend."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "trust").mkdir()
        always = parse_settings({"trainer": {"environment": {"actions": {"kind": "levels", "max_position": 1.0}}}})
        plan = make_plan(DemoOptions(ticks=STEPS), Path(home), always)
        (bundles, call), records = make_bundles(plan, Path(home)), market(plan)
        observer = bundles["torchscript"].observer
        assert observer is not None
        calm_garbage_collector()  # as every process of agents does
        bare: list[list[float]] = []
        rounds: dict[RuntimeName, list[Round]] = {name: [] for name in RUNTIMES}
        for _ in range(ROUNDS):
            bare.append(bare_round(call, observer.size))
            for name, bundle in bundles.items():
                rounds[name].append(one_round(live_shard(plan, bundle), records))
    calls = {percent: median([percentile(times, percent) for times in bare]) for percent in (50, 99)}
    return [line for name in RUNTIMES for line in figures(name, rounds[name], calls)]
