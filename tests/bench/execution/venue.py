"""A venue that fills every order at once, so that positions move and nothing stays open."""

from messages import Bus, ExecutionReport, NewRecord, Order, Partition, ReportStatus, decode, encode
from messages.reports import OrderPosition


def report_on(order: Order, offset: int, *, price: float = 100.0) -> ExecutionReport:
    """Return the report that the order whose record stands at `offset` is filled."""
    return ExecutionReport(
        exec_id=f"{order.order_id}-F",
        order_id=order.order_id,
        instrument=order.instrument,
        ts_event=order.ts_decided,
        side=order.side,
        strategy=order.strategy,
        bundle_id=order.bundle_id,
        status=ReportStatus.FILLED,
        report_seq=0,
        cumulative_quantity=order.quantity,
        average_price=price,
        cumulative_fee=0.0,
        leaves_quantity=0.0,
        order=OrderPosition(partition=0, offset=offset),
    )


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
                    value = encode(report_on(message, record.offset))
                    answers.append(NewRecord(key=record.key, value=value))
            if answers:
                await producer.publish_batch(Partition("reports", 0), answers)
    finally:
        await consumer.stop()
        await producer.stop()
