"""Topic `dead-letters`: what could not be read, kept whole for people. Key = source topic."""

from msgspec import Struct

from messages.fields import Name, Nanoseconds, Offset, PartitionIndex


class DeadLetter(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """One refused record with its original bytes (base64 in JSON) and the reason. Written by all; read by people.

    `ts` in ns.
    """

    topic: Name
    partition: PartitionIndex
    offset: Offset
    reason: str
    agent_id: Name
    ts: Nanoseconds
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
