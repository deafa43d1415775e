"""Topic `checkpoints`: a shard's state, so that recovery reads only a tail. Key and partition = the shard's."""

from msgspec import Struct

from messages.fields import Nanoseconds, Offset, PartitionIndex, Sequence


class Checkpoint(Struct, frozen=True, kw_only=True, tag=True):
    """The state after step `n - 1`. Written by execution; read by execution.

    `market_to`, `reports_to` are the next offsets to apply; `orders_to`, `decisions_to` where the tails begin;
    `ring_from` the oldest market offset still needed to refill the rings of recent ticks. `clock_ns` is the step clock
    in ns. `state` is opaque, `digest` its blake2b-256 in hex: a checkpoint that does not match its digest is ignored.
    """

    partition: PartitionIndex
    epoch: Offset
    n: Sequence
    clock_ns: Nanoseconds
    market_to: Offset
    ring_from: Offset
    reports_to: Offset
    orders_to: Offset
    decisions_to: Offset
    state: bytes
    digest: str
