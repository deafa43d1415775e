"""A venue that fills every order at once, so that positions move and nothing stays open."""

from messages import Bus, NewRecord, Order, Partition, decode, encode
from tests.builders import report


async def fill_orders(bus: Bus) -> None:
    """Answer all orders of partition 0 until cancelled."""
    consumer, producer = await bus.consumer(), await bus.producer()
    try:
        await consumer.assign({Partition("orders", 0): 0})
        while True:
            answers = []
            for record in await consumer.poll(timeout_s=1.0):
                message = decode("orders", record.value, record.headers)
                if isinstance(message, Order):
                    value = encode(report(message, at=record.offset))
                    answers.append(NewRecord(key=record.key, value=value))
            if answers:
                await producer.publish_batch(Partition("reports", 0), answers)
    finally:
        await consumer.stop()
        await producer.stop()
