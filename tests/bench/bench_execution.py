"""One decision, tick bytes in to order bytes out, against the bare frozen forward of the same policy.

Rounds alternate between the two in one process; medians over the rounds.
"""

import sys
import tempfile
from pathlib import Path
from time import perf_counter_ns

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from agents.assembly import scope_of
from agents.demo.baseline import make_baseline
from agents.demo.plan import STRATEGY, DemoOptions, DemoPlan, environment_of, make_plan
from agents.execution.scope import shard_of
from agents.execution.shard import Shard
from agents.execution.staging import serving
from agents.execution.step import ServingBundle
from agents.settings import parse_settings
from bundles.loader import load_bundle
from bundles.signing import SigningKey, TrustStore
from messages import LogStarted, Order, Record, Step, encode
from messages.bus.partitioner import partition_of
from messages.decisions import BundleActivated, ControlApplied, RiskAlive, StepInput
from tests import builders
from tests.bench.measure import median, percentile, report, result

ROUNDS, STEPS = 7, 6_000


def make_bundle(plan: DemoPlan, home: Path) -> ServingBundle:
    key = SigningKey.generate()
    directory = make_baseline(
        home,
        strategy=STRATEGY,
        instruments=plan.settings.strategies[STRATEGY],
        environment=environment_of(plan),
        created=1,
        key=key,
    )
    return serving(load_bundle(directory, trust=TrustStore.of([key])))


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


def one_round(shard: Shard, records: list[Record]) -> tuple[list[float], list[float]]:
    """Microseconds of each step of one record: where the policy was asked and nothing went out, and with an order."""
    quiet, ordered = [], []
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
        reports = [answer(order, shard.reports_to) for order in logged.orders if isinstance(order, Order)]
        if logged.orders:
            ordered.append(took_us)
        elif logged.decisions[0].action is not None:
            quiet.append(took_us)
    return quiet, ordered


def answer(order: Order, offset: int) -> Record:
    """The venue fills every order at once."""
    value = encode(builders.report(order))
    return Record(topic="reports", partition=0, offset=offset, timestamp_ms=0, key=None, value=value)


def bare_round(bundle: ServingBundle, size: int) -> list[float]:
    forward, observation = bundle.policy._graph.forward, torch.zeros((1, size))  # type: ignore[attr-defined]
    samples = []
    with torch.no_grad():
        for _ in range(STEPS):
            began = perf_counter_ns()
            forward(observation)
            samples.append((perf_counter_ns() - began) / 1e3)
    return samples


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "trust").mkdir()
        always = parse_settings({"trainer": {"environment": {"actions": {"kind": "levels", "max_position": 1.0}}}})
        plan = make_plan(DemoOptions(ticks=STEPS), Path(home), always)
        bundle, records = make_bundle(plan, Path(home)), market(plan)
        assert bundle.observer is not None
        rounds = []
        for _ in range(ROUNDS):
            bare = bare_round(bundle, bundle.observer.size)
            rounds.append((bare, *one_round(live_shard(plan, bundle), records)))
    bare_p50 = median([percentile(bare, 50) for bare, _, _ in rounds])
    bare_p99 = median([percentile(bare, 99) for bare, _, _ in rounds])
    quiet_p50 = median([percentile(quiet, 50) for _, quiet, _ in rounds])
    quiet_p99 = median([percentile(quiet, 99) for _, quiet, _ in rounds])
    ordered_p50 = median([percentile(ordered, 50) for _, _, ordered in rounds if ordered])
    report(
        "execution",
        [
            result("decision without order, p50", quiet_p50, "us", baseline=bare_p50),
            result("decision without order, p99", quiet_p99, "us", baseline=bare_p99),
            result("decision with order, p50", ordered_p50, "us", baseline=bare_p50),
        ],
    )


main()
