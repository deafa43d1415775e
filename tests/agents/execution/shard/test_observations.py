"""What a shard shows its policies: the bits that training saw, whatever the steps, and across a checkpoint."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agents.execution.shard import Shard
from agents.execution.shard.checkpoint import checkpoint_of
from agents.execution.shard.desk import Tick
from bundles.features import Feature, FeatureSpec, Floats32, Observer, user_feature
from messages import Bar, DenialCode, OutcomeCode, Quote, Record
from tests.builders import Scripted, bundle, quote, ready_inputs, record, shard, step_of
from tests.bundles.features.own import mid_of
from tests.bundles.features.streams import EVERY_FEATURE, Stream, rows_of, streams

OBSERVER = Observer(EVERY_FEATURE)
PROOF = settings(max_examples=6, deadline=None)
NO_LIMIT = {"max_open_orders": 1_000_000}
Seen = dict[int, bytes]


class Watching:
    """Keeps what it is shown; the action is a function of its bits, or always to stay flat."""

    def __init__(self, *, trades: bool) -> None:
        self.shown: list[bytes] = []
        self._trades = trades

    def act(self, observation: Floats32) -> tuple[float, ...]:
        self.shown.append(observation.tobytes())
        return (float(sum(self.shown[-1]) % 3) if self._trades else 1.0,)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


def trading(policy: Watching) -> Shard:
    target = shard(msgspec.structs.replace(bundle(policy), observer=OBSERVER), limits=NO_LIMIT)
    target.step(step_of(target, [], *ready_inputs()), [], [])
    return target


def is_occasion(message: Tick) -> bool:
    """Whether the policy is asked here at the latest."""
    return isinstance(message, Bar) or (isinstance(message, Quote) and 0 < message.bid <= message.ask)


def steps(records: Sequence[Record], seed: int) -> Iterator[list[Record]]:
    """Cut records into steps of 1 to 64."""
    rng = np.random.default_rng(seed)
    low = 0
    while low < len(records):
        high = low + int(rng.integers(1, 65))
        yield list(records[low:high])
        low = high


def decided(target: Shard, policy: Watching, batches: Sequence[list[Record]]) -> tuple[Seen, list[bytes]]:
    """What was shown, by market offset, and the logged steps."""
    seen: Seen = {}
    logged = []
    for batch in batches:
        policy.shown.clear()
        one = target.step(step_of(target, batch), batch, [])
        offsets = [at.offset for at, each in zip(batch, one.decisions, strict=True) if each.action is not None]
        seen |= dict(zip(offsets, policy.shown, strict=True))
        logged.append(msgspec.json.encode(one))
    return seen, logged


@PROOF
@example(Stream(900, 1), 1)
@given(streams(600, 900), st.integers(0, 2**31))
def test_a_flat_shard_shows_what_the_batch_over_the_same_ticks_holds(stream: Stream, seed: int) -> None:
    messages = stream.messages
    policy = Watching(trades=False)
    target = trading(policy)
    seen, _ = decided(target, policy, list(steps([record(each, n) for n, each in enumerate(messages)], seed)))
    batch, ready = OBSERVER.observe_all(rows_of(messages))
    assert seen == {offset: batch[offset].tobytes() for offset in seen}
    assert ready[list(seen)].all()
    assert {n for n, each in enumerate(messages) if is_occasion(each) and ready[n]} <= set(seen)


@PROOF
@example(Stream(900, 1), 1, 0.6)
@given(streams(600, 900), st.integers(0, 2**31), st.floats(0.1, 0.9))
def test_a_checkpoint_in_the_middle_changes_nothing(stream: Stream, seed: int, where: float) -> None:
    messages = stream.messages
    records = [record(each, n) for n, each in enumerate(messages)]
    batches = list(steps(records, seed))
    cut = int(where * len(batches))
    policy, other = Watching(trades=True), Watching(trades=True)
    target = trading(policy)
    decided(target, policy, batches[:cut])
    restored = shard(msgspec.structs.replace(bundle(other), observer=OBSERVER), limits=NO_LIMIT)
    restored.restore(
        checkpoint_of(target)
    )  # fmt: skip
    restored.refill(records[target.ring_from : target.market_to])
    expected = decided(target, policy, batches[cut:])
    assert expected == decided(restored, other, batches[cut:])
    assert target.snapshot() == restored.snapshot()


def test_a_users_feature_that_raises_is_a_policy_error() -> None:
    spec = FeatureSpec(
        features=(Feature(name="mid_of", params={"tick": 0}), Feature(name="mid_of", params={"tick": 2}))
    )
    observer = Observer(spec, {"mid_of": user_feature("mid_of", mid_of)})
    target = shard(msgspec.structs.replace(bundle(Scripted(2.0)), observer=observer))
    batch = [record(quote(), n) for n in range(3)]
    decisions = target.step(step_of(target, batch, *ready_inputs()), batch, []).decisions
    errors = [each.denial is not None and each.denial.code is DenialCode.POLICY_ERROR for each in decisions]
    assert errors == [True, True, False]
    assert decisions[2].outcome is OutcomeCode.ORDER
