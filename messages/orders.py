"""Topic `orders`: what Execution wants done. Key = instrument. Written by the owner of the partition alone."""

from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from messages.fields import Name, Nanoseconds, Offset, PartitionIndex, PositivePrice, PositiveSize, Sequence, Side

OrderType = Literal["market", "limit"]
TimeInForce = Literal["IOC", "FOK", "GTC", "GTX"]
LOG_HEADER = "log"


class Source(Struct, frozen=True, kw_only=True):
    """The market record that an order was decided on."""

    topic: Name
    partition: PartitionIndex
    offset: Offset


class Order(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A new order. Written by execution; read by venue adapters, risk, execution.

    `seq` is dense per partition over orders and cancels: drop what was seen, notice gaps. `epoch` is the offset of the
    owner's Claim: a record whose epoch is not that of the newest Claim before it is void. `quantity` in units,
    `limit_price` in the quote currency, `ts_decided` in ns: adapters refuse what is older than their max_order_age.
    """

    order_id: Name
    seq: Sequence
    epoch: Offset
    instrument: Name
    side: Side
    quantity: PositiveSize
    order_type: OrderType
    time_in_force: TimeInForce
    strategy: Name
    bundle_id: Name
    source: Source
    ts_decided: Nanoseconds
    limit_price: PositivePrice | None = None
    reduce_only: bool = False


class Cancel(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Asks the venue to cancel what is left of an order. Written by execution; read by venue adapters, risk, execution.

    `seq` and `epoch` as in Order: one numbering over both.
    """

    cancel_id: Name
    seq: Sequence
    epoch: Offset
    order_id: Name
    instrument: Name
    reason: str


class Claim(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A new owner takes a shard and voids what older owners append later.

    Written by execution; read by venue adapters, risk, execution, replay, audit, monitoring. On `orders` the offset
    that the Claim gets is the new epoch; on `decisions` the Claim names it in `epoch`.
    """

    owner: Name
    epoch: Offset | None = None


OrderMessage = Order | Cancel | Claim


def order_id(log_id: str, strategy: str, instrument: str, source: Source, index: int) -> str:
    """Return the id of the `index`-th order decided on `source`: equal input, equal id, on any machine.

    Base32 (no padding) of blake2b-128 over the length-prefixed fields; `log_id` keeps clusters apart.
    """
    of_instrument = _fields(log_id, strategy, instrument, source.topic, source.partition)
    offset = b"%d" % source.offset
    content = of_instrument + len(offset).to_bytes(4) + offset + _index(index)
    bits = int.from_bytes(blake2b(content, digest_size=16).digest()) << 32
    for upper, factor in _SPREAD:
        bits += (bits & upper) * factor
    return bits.to_bytes(32).translate(_LETTERS)[:26].decode()


def _spread(lane: int) -> tuple[int, int]:
    """Return the mask of the upper half of each lane's five eighths, and what it times is to be added to move it up."""
    half = lane * 5 // 16
    upper = sum(((1 << half) - 1) << place + half for place in range(0, 256, lane))
    return upper, (1 << lane * 3 // 16) - 1


# Base32 (RFC 4648) without padding: 160 bits are spread over 256, halves apart, then the halves of halves, until each
# byte holds five of them.
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 8
_SPREAD = tuple(_spread(lane) for lane in (256, 128, 64, 32, 16))


@lru_cache(maxsize=4096)
def _fields(log_id: str, strategy: str, instrument: str, topic: str, partition: int) -> bytes:
    return b"".join(map(_field, (log_id, strategy, instrument, topic, str(partition))))


@lru_cache(maxsize=64)
def _index(index: int) -> bytes:
    return _field(str(index))


def _field(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(4, "big") + raw
