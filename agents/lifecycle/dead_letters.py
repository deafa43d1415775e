"""Dead letters on their way: a refused record whole, in as many parts as it needs, sent in batches."""

import logging
from collections import deque
from collections.abc import Iterator

import msgspec

from agents.lifecycle.metrics import DEAD_LETTERS
from messages import DeadLetter, NewRecord, Partition, Producer, Record, Refused, decode, encode
from messages.bus.protocol import MAX_BATCH_BYTES

PART_BYTES = 384 * 1024  # base64 makes a third more of it, and twice that still fits into a batch
MAX_REASON_CHARACTERS = 2_000
MAX_BATCH_LETTERS = 500
_RECORD_OVERHEAD_BYTES = 100
_LETTERS = Partition("dead-letters", 0)
_log = logging.getLogger(__name__)


def dead_letters(record: Record, reason: str, *, agent_id: str, ts: int) -> tuple[NewRecord, ...]:
    """Return the records for `dead-letters` that keep `record` whole: one, or several parts of a large value.

    A key and headers that are too large for a part themselves are left out, and the reason says so.
    """
    DEAD_LETTERS.labels(record.topic).inc()
    envelope = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=reason[:MAX_REASON_CHARACTERS],
        agent_id=agent_id,
        ts=ts,
        key=record.key,
        headers=record.headers,
    )
    if (size := len(encode(envelope))) > PART_BYTES:
        said = f"{envelope.reason} (key and headers, {size} bytes, are left out)"
        envelope = msgspec.structs.replace(envelope, reason=said, key=None, headers=())
    value = record.value
    if value is None or len(value) <= PART_BYTES:
        return (_new_record(msgspec.structs.replace(envelope, value=value)),)
    cuts = range(0, len(value), PART_BYTES)
    first, later = envelope, msgspec.structs.replace(envelope, key=None, headers=())
    return tuple(
        _new_record(
            msgspec.structs.replace(
                later if part else first, value=value[cut : cut + PART_BYTES], part=part, parts=len(cuts)
            )
        )
        for part, cut in enumerate(cuts)
    )


def _new_record(letter: DeadLetter) -> NewRecord:
    return NewRecord(key=letter.topic.encode(), value=encode(letter))


class LetterBox:
    """Dead letters that wait to be sent, in order."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._letters: deque[NewRecord] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._letters)

    @property
    def has_room(self) -> bool:
        """Whether more may be added before some are sent: who reads on regardless fills the memory."""
        return self._bytes < self._max_bytes

    def add(self, record: Record, reason: str, *, agent_id: str, ts: int) -> None:
        """Take a refused record in."""
        for letter in dead_letters(record, reason, agent_id=agent_id, ts=ts):
            self._letters.append(letter)
            self._bytes += _size(letter)

    async def send(self, producer: Producer) -> None:
        """Send what is there now, in batches; what is added meanwhile waits for the next call. Raises as publishing."""
        left = len(self._letters)
        while left > 0:
            batch = list(self._next_batch(left))
            await _publish(producer, batch)
            for _ in batch:
                self._bytes -= _size(self._letters.popleft())
            left -= len(batch)

    def _next_batch(self, limit: int) -> Iterator[NewRecord]:
        size = 0
        for count, letter in enumerate(self._letters):
            size += _size(letter)
            if count and (size > MAX_BATCH_BYTES * 9 // 10 or count >= min(limit, MAX_BATCH_LETTERS)):
                return
            yield letter


def _size(letter: NewRecord) -> int:
    return len(letter.value or b"") + len(letter.key or b"") + _RECORD_OVERHEAD_BYTES


async def _publish(producer: Producer, letters: list[NewRecord]) -> None:
    """Send a batch. What the broker finds too large goes out without its bytes: nothing stops for a dead letter."""
    try:
        await producer.publish_batch(_LETTERS, letters)
    except Refused as refusal:
        for letter in letters:
            try:
                await producer.publish_batch(_LETTERS, [letter])
            except Refused:
                _log.warning(
                    "a dead letter of %d bytes is kept without its bytes: %s", len(letter.value or b""), refusal
                )
                await producer.publish_batch(_LETTERS, [_stub(letter)])


def _stub(letter: NewRecord) -> NewRecord:
    content: DeadLetter = decode("dead-letters", letter.value)
    reason = f"{content.reason} (its bytes were too large for the topic)"
    return _new_record(msgspec.structs.replace(content, reason=reason, key=None, value=None, headers=()))
