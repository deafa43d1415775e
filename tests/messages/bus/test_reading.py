"""Reading what is there: the newest records, and what can't be read."""

from messages import NewRecord, Partition, connect
from messages.bus.reading import message_in, read_newest
from messages.topics import TOPICS


async def test_the_newest_records_are_read_and_one_that_is_no_message_is_none() -> None:
    bus = connect("memory://")
    await bus.create_topics([TOPICS["market"]], shards=1)
    producer, market = await bus.producer(), Partition("market", 0)
    assert await read_newest(bus, market, 2) == []
    for value in (b"1", b"2", b"{"):
        await producer.publish("market", NewRecord(value=value), partition=0)
    newest = await read_newest(bus, market, 2)
    assert [record.value for record in newest] == [b"2", b"{"]
    assert [message_in(record) for record in newest] == [None, None]
    await bus.stop()
