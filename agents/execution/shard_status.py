"""What a heartbeat tells of one live shard: how far it is, what it holds, what it uses of its share, how fast it is."""

from bisect import bisect_left
from itertools import accumulate

from agents.execution.shard import Shard
from agents.execution.shard.tally import Tally
from agents.execution.shard.views import exposures_of
from agents.risk.instruments import NANO
from messages.status import ShardStatus

_SUB_BITS = 4  # 16 buckets for each doubling: a percentile is at most a sixteenth above the real one
_PLAIN_BITS = _SUB_BITS + 1  # smaller durations have a bucket each
_BUCKETS = (65 - _SUB_BITS) << _SUB_BITS


class Latencies:
    """Durations since the last reading, in so many buckets for each doubling: constant memory, whatever comes."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS

    def add(self, took_ns: int) -> None:
        """Count one duration."""
        if (shift := took_ns.bit_length() - _PLAIN_BITS) > 0:
            took_ns = (shift << _SUB_BITS) + (took_ns >> shift)
        self._counts[took_ns] += 1

    def take_p99_us(self) -> float | None:
        """Return, and forget, what 99 in 100 stayed below, in microseconds; None when there were none."""
        seen, self._counts = list(accumulate(self._counts)), [0] * _BUCKETS
        return _above_ns(bisect_left(seen, -(-99 * seen[-1] // 100))) / 1e3 if seen[-1] else None


def status_of(shard: Shard, latencies: Latencies, *, logged_to: int) -> ShardStatus:
    """Return what is to be told of a live shard; its counts begin anew.

    `logged_to`: records of `control` before it are applied in steps that are on `decisions`.
    """
    gross, net = exposures_of(shard.desks.values())
    share, tally = shard.share, shard.tally
    shard.tally = Tally()
    held = ((name, desk.instrument, shard.ledger.position_lots(name)) for name, desk in shard.desks.items())
    return ShardStatus(
        partition=shard.partition,
        control_to=shard.control_to,
        control_logged_to=logged_to,
        reports_to=shard.reports_to,
        positions={name: instrument.quantity(lots) for name, instrument, lots in held if lots},
        gross_share=share.gross,
        net_share=share.net,
        gross_used=gross / NANO,
        net_used=net / NANO,
        gross_denials=tally.gross_denials,
        net_denials=tally.net_denials,
        decisions=tally.decisions,
        saturated=tally.saturated,
        decision_p99_us=latencies.take_p99_us(),
        throttled=shard.throttled,
    )


def _above_ns(bucket: int) -> int:
    """Return the end of a bucket."""
    shift = (bucket >> _SUB_BITS) - 1
    return bucket + 1 if shift <= 0 else ((bucket & (1 << _SUB_BITS) - 1) + (1 << _SUB_BITS) + 1) << shift
