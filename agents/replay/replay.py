"""Replay of a whole log: every shard's steps through the same core, orders and decisions compared byte for byte."""

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from agents.execution.config import ExecutionConfig
from agents.execution.ownership import batches_of, log_of, valid_records
from agents.execution.scope import Scope, shard_of
from agents.execution.shard.step import ServingBundle
from agents.execution.staging import serving
from agents.replay.player import Mismatch, rederive
from bundles.loader import load_bundle
from messages import LoggedStep, Record
from messages.decisions import BundleActivated, BundleShadowed

Records = Callable[[str, int], Sequence[Record]]


class Replayed(Struct, frozen=True, kw_only=True):
    """What a replay found. `orders_digest` is of the derived orders, `logged_digest` of those on the topic."""

    steps: int
    decisions: int
    orders: int
    orders_digest: str
    logged_digest: str
    mismatches: tuple[Mismatch, ...]

    @property
    def is_equal(self) -> bool:
        """Whether everything came out as logged."""
        return not self.mismatches and self.orders_digest == self.logged_digest


def orders_digest(orders: Mapping[int, Sequence[bytes]]) -> str:
    """Return the sha256 (hex) over (seq, bytes) of each partition's orders and cancels, in partition order."""
    digest = hashlib.sha256()
    for partition in sorted(orders):
        for seq, order in enumerate(orders[partition]):
            digest.update(struct.pack(">IQI", partition, seq, len(order)) + order)
    return digest.hexdigest()


def logged_orders(records: Iterable[Record]) -> list[bytes]:
    """Return the bytes of the valid orders and cancels of one partition of `orders`."""
    return [record.value or b"" for record, _ in valid_records(records, None)]


def logged_steps(decisions: Iterable[Record], orders: Iterable[Record] = ()) -> list[LoggedStep]:
    """Return the steps that one partition of `decisions`, and the headers of `orders`, hold: each once, by n."""
    steps: dict[int, LoggedStep] = {}
    for batch in (*batches_of(decisions, None), *batches_of(orders, None)):
        for step in batch.steps:
            steps.setdefault(step.step.n, step)
    return [steps[n] for n in sorted(steps)]


def explained(orders: Sequence[Record], decisions: Iterable[Record]) -> Sequence[Record]:
    """Return the records of `orders` up to the first that follows on steps which `decisions` does not hold.

    So much of a shard that runs can be derived again: `decisions` is a little behind, and the headers of `orders` reach
    back no further than to what is acknowledged there.
    """
    known = max((logged.step.n for logged in logged_steps(decisions)), default=-1)
    for record, _ in valid_records(orders, None):
        if (batch := log_of(record)) is None:
            continue
        if batch.steps[0].step.n > known + 1:
            return orders[: orders.index(record)]
        known = max(known, batch.steps[-1].step.n)
    return orders


def replay(records: Records, *, partitions: int, scope: Scope, config: ExecutionConfig, bundles_dir: Path) -> Replayed:
    """Re-derive every shard of a log. The bundles are read from `bundles_dir`/DIGEST and checked as ever.

    Raises BundleRefused for a bundle that is missing or does not pass.
    """
    derived: dict[int, Sequence[bytes]] = {}
    logged: dict[int, Sequence[bytes]] = {}
    mismatches: list[Mismatch] = []
    steps = decisions = 0
    bundles: dict[str, ServingBundle] = {}
    for number in range(partitions):
        shard_steps = logged_steps(records("decisions", number), records("orders", number))
        for digest in _digests(shard_steps):
            if digest not in bundles:
                loaded = load_bundle(
                    bundles_dir / digest,
                    trust=scope.trust,
                    allow_unsigned=scope.allow_unsigned,
                    runtime=config.decisions.runtime,
                )
                bundles[digest] = serving(loaded, scope.user_features)
        shard = shard_of(scope, number, partitions, config, bundles)
        result = rederive(shard, shard_steps, records("market", number), records("reports", number))
        derived[number], logged[number] = result.orders, logged_orders(records("orders", number))
        steps, decisions = steps + result.steps, decisions + result.decisions
        if result.mismatch is not None:
            mismatches.append(result.mismatch)
    return Replayed(
        steps=steps,
        decisions=decisions,
        orders=sum(len(orders) for orders in derived.values()),
        orders_digest=orders_digest(derived),
        logged_digest=orders_digest(logged),
        mismatches=tuple(mismatches),
    )


def _digests(steps: Iterable[LoggedStep]) -> set[str]:
    """What traded, and what decided beside it."""
    return {
        applied.sha256
        for logged in steps
        for applied in logged.step.inputs
        if isinstance(applied, BundleActivated | BundleShadowed) and applied.sha256 is not None
    }
