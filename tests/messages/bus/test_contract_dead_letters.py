"""What could not be read comes back whole from `dead-letters`, on every bus."""

import pytest

from agents.lifecycle.dead_letters import PART_BYTES, LetterBox
from messages import BadMessage, DeadLetter, NewRecord, Partition, decode
from tests.clusters import Cluster, create, read

HEADERS = (("traceparent", b"\xff\xfe"), ("content-type", b"application/json"))


@pytest.mark.parametrize("value", [b"\x00{not json\xff", b"", None, bytes(range(256)) * 3_000])
async def test_a_record_that_no_reader_understands_is_kept_byte_for_byte(cluster: Cluster, value: bytes | None) -> None:
    bus = cluster.connect()
    await create(bus, "market", "dead-letters")
    producer, consumer = await bus.producer(), await bus.consumer()
    await producer.publish("market", NewRecord(value=b"before"), partition=1)
    await producer.publish("market", NewRecord(key=b"\xc3(", value=value, headers=HEADERS), partition=1)
    await consumer.assign({Partition("market", 1): 1})
    (bad,) = await read(consumer, 1)
    with pytest.raises(BadMessage):
        decode("market", bad.value, bad.headers)
    box = LetterBox(max_bytes=16 * 2**20)
    box.add(bad, "can't be read", agent_id="test", ts=7)
    count = len(box)
    await box.send(producer)
    await consumer.assign({Partition("dead-letters", 0): 0})
    letters = [
        letter
        for record in await read(consumer, count)
        if isinstance(letter := decode("dead-letters", record.value), DeadLetter)
    ]
    assert len(letters) == count == max(1, -(-len(value or b"") // PART_BYTES))
    assert [letter.part for letter in letters] == list(range(len(letters)))
    first = letters[0]
    assert (first.topic, first.partition, first.offset) == ("market", 1, 1)
    assert (first.key, first.headers) == (b"\xc3(", HEADERS)
    assert (None if first.value is None else b"".join(letter.value or b"" for letter in letters)) == value
