"""A log as a shard makes it: what it read, what it decided, its checkpoints, in records as they lie on topics."""

from collections.abc import Sequence
from typing import Any

import msgspec

from agents.execution.shard import Shard
from agents.execution.shard.checkpoint import checkpoint_of
from agents.replay.explain import Explanation, explain
from agents.replay.tail import ShardLog, by_topic, shard_log
from bundles.features import Feature, FeatureSpec, Observer
from messages import Claim, DecisionBatch, LoggedStep, Order, Record
from messages.decisions import StepInput
from tests.builders import START_NS, Scripted, bundle, ready_inputs, record, report, shard, step_of


class DecidedLog:
    """A shard that decides, and the records that it reads and writes."""

    def __init__(self, *answers: float | Exception, feature: Feature | None = None, **options: Any) -> None:
        self.limits = options.pop("limits", None)
        actions = {name: options.pop(name) for name in ("dead_band", "decide_every", "kind") if name in options}
        self.config = options
        trading = bundle(Scripted(*answers), **actions)
        if feature is not None:
            trading = msgspec.structs.replace(trading, observer=Observer(FeatureSpec(features=(feature,))))
        self.shard = shard(trading, limits=self.limits, **options)
        self.shard.epoch = 0
        self.records: list[Record] = []
        self.append("orders", Claim(owner="me"))
        self.append("decisions", Claim(owner="me", epoch=0))

    def step(
        self, messages: Sequence[object], *inputs: StepInput, fills: Sequence[Order] = (), at_ns: int = START_NS
    ) -> LoggedStep:
        for order in fills:
            self.append("reports", report(order, offset=self._end("reports")))
        market = [self.append("market", message) for message in messages]
        reports = [r for r in self.records if r.topic == "reports" and r.offset >= self.shard.reports_to]
        step = step_of(self.shard, market, *inputs, reports=reports or None, at_ns=at_ns)
        logged = self.shard.step(step, market, reports)
        for sent in logged.orders:
            self.append("orders", sent)
        self.append("decisions", DecisionBatch(partition=0, epoch=0, logic_version=2, steps=(logged,)))
        return logged

    def checkpoint(self) -> None:
        made = checkpoint_of(self.shard, orders_to=self._end("orders"), decisions_to=self._end("decisions"))
        self.append("checkpoints", made)

    def read(self, *offsets: int) -> ShardLog:
        return shard_log(by_topic(self.records), 0, offsets)

    def explain(self, *offsets: int) -> list[Explanation]:
        return explain(self.read(*offsets), offsets, self.new_shard)

    def new_shard(self) -> Shard:
        return shard(limits=self.limits, **self.config)

    def append(self, topic: str, message: object) -> Record:
        self.records.append(record(message, self._end(topic), topic=topic))
        return self.records[-1]

    def _end(self, topic: str) -> int:
        return sum(record.topic == topic for record in self.records)


def trading(*answers: float | Exception, **options: Any) -> DecidedLog:
    log = DecidedLog(*answers, **options)
    log.step([], *ready_inputs())
    return log
