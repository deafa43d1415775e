"""Dead letters keep what was refused, whatever its size, and go out in batches."""

import pytest

from agents.lifecycle.dead_letters import LetterBox, dead_letters
from messages import TOPICS, DeadLetter, Partition, Record, Refused, decode
from messages.bus.memory.broker import MemoryBroker
from messages.bus.protocol import MAX_BATCH_BYTES

LETTERS = Partition("dead-letters", 0)


def refused(
    value: bytes | None, *, key: bytes | None = b"X", headers: tuple[tuple[str, bytes], ...] = (), offset: int = 0
) -> Record:
    return Record(topic="market", partition=3, offset=offset, timestamp_ms=1, key=key, value=value, headers=headers)


def letters_of(record: Record, reason: str = "because") -> list[DeadLetter]:
    return [decode("dead-letters", new.value) for new in dead_letters(record, reason, agent_id="me", ts=7)]


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff\xfe\x00", bytes(range(256)) * 40])
@pytest.mark.parametrize("key", [None, b"", b"X", b"\xff\xfe\x00"])
def test_a_record_is_kept_as_it_was(value: bytes | None, key: bytes | None) -> None:
    headers = (("content-type", b"\xff"), ("content-type", b""), ("\u00e4", b"\x00" * 10))
    (letter,) = letters_of(refused(value, key=key, headers=headers, offset=9))
    assert (letter.topic, letter.partition, letter.offset, letter.reason) == ("market", 3, 9, "because")
    assert (letter.key, letter.value, letter.headers) == (key, value, headers)
    assert (letter.part, letter.parts) == (0, 1)


def test_a_header_without_a_value_which_kafka_allows_is_kept() -> None:
    (letter,) = letters_of(refused(b"x", headers=(("trace", None),)))  # type: ignore[arg-type]
    assert letter.headers == (("trace", None),)


@pytest.mark.parametrize("size", [384 * 1024, 384 * 1024 + 1, 1_048_588, 5 * 2**20])
def test_a_value_of_any_size_is_kept_whole_in_parts_that_each_can_be_sent(size: int) -> None:
    value = bytes(range(251)) * (size // 251 + 1)
    value = value[:size]
    broker = MemoryBroker()
    broker.create(TOPICS["dead-letters"], 1)
    for letter in dead_letters(refused(value, headers=(("h", b"1"),)), "too long", agent_id="me", ts=7):
        broker.append(LETTERS, [letter])
    letters = letters_of(refused(value, headers=(("h", b"1"),)))
    assert b"".join(letter.value or b"" for letter in letters) == value
    assert [letter.part for letter in letters] == list(range(letters[0].parts))
    assert [letter.headers for letter in letters] == [(("h", b"1"),)] + [()] * (len(letters) - 1)


def test_headers_beyond_all_measure_are_left_out_and_that_is_said() -> None:
    (letter,) = letters_of(refused(b"x", headers=(("h", b"1" * 900_000),)))
    assert letter.value == b"x"
    assert letter.headers == ()
    assert "left out" in letter.reason


async def test_a_flood_goes_out_in_batches_in_order_and_leaves_nothing_behind() -> None:
    broker = MemoryBroker()
    broker.create(TOPICS["dead-letters"], 1)
    box = LetterBox(max_bytes=1_000_000)
    count = 0
    while box.has_room:
        box.add(refused(b"x" * 1_000, offset=count), "bad", agent_id="me", ts=1)
        count += 1
    before = broker.activity
    await box.send(await broker.connect().producer())
    records = broker.log(LETTERS).records
    assert [decode("dead-letters", record.value).offset for record in records] == list(range(count))
    assert broker.activity - before <= 2 + count // 400
    assert len(box) == 0
    assert box.has_room


class Small:
    """A producer whose broker takes records of a few hundred bytes."""

    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []

    async def publish_batch(self, partition: Partition, records: list[object]) -> int:
        sizes = [len(record.value) for record in records]  # type: ignore[attr-defined]
        if sum(sizes) > 700:
            raise Refused(f"{sum(sizes)} bytes for {partition.topic} are too many")
        self.sent += [decode("dead-letters", record.value) for record in records]  # type: ignore[attr-defined]
        return 0


async def test_what_the_broker_will_not_take_is_told_without_its_bytes_and_the_rest_goes_out_whole() -> None:
    box, producer = LetterBox(max_bytes=MAX_BATCH_BYTES), Small()
    for offset, size in enumerate((10, 900, 20)):
        box.add(refused(b"x" * size, offset=offset), "bad", agent_id="me", ts=1)
    await box.send(producer)  # type: ignore[arg-type]
    assert [letter.value for letter in producer.sent] == [b"x" * 10, None, b"x" * 20]
    assert "too large" in producer.sent[1].reason
