"""Topic `dead-letters`: what could not be read, kept whole for people. Key = source topic."""

from typing import Annotated

from msgspec import Meta, Struct

from messages.fields import Name, Nanoseconds, Offset, PartitionIndex

Part = Annotated[int, Meta(ge=0, le=2**31 - 1, description="number of this part, from 0")]
Parts = Annotated[int, Meta(ge=1, le=2**31 - 1, description="number of parts of the value")]


class DeadLetter(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """One refused record with its original bytes (base64 in JSON) and the reason. Written by all; read by people.

    `ts` in ns. A value that is too large for one letter comes in `parts` letters, `part` counting from 0: their values,
    one after the other, are the original; key and headers stand in the first.
    """

    topic: Name
    partition: PartitionIndex
    offset: Offset
    reason: str
    agent_id: Name
    ts: Nanoseconds
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    part: Part = 0
    parts: Parts = 1
