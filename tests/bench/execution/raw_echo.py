"""A plain aiokafka loop: what comes on `market` goes out on `orders`. The baseline of the round trip.

python tests/bench/execution/raw_echo.py HOST:PORT PREFIX
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.lifecycle.process import run_async
from messages.bus.kafka.timeouts import KafkaTimeouts


async def echo(servers: str, prefix: str) -> None:
    """Echo until killed, with the settings of our bus where they matter."""
    timeouts = KafkaTimeouts()
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, enable_idempotence=True, linger_ms=0, retry_backoff_ms=timeouts.retry_backoff_ms
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, enable_auto_commit=False, fetch_max_wait_ms=timeouts.fetch_wait_ms
    )
    await asyncio.gather(producer.start(), consumer.start())
    market = TopicPartition(prefix + "market", 0)
    consumer.assign([market])
    consumer.seek(market, 0)
    while True:
        for batch in (await consumer.getmany(timeout_ms=1000)).values():
            for record in batch:
                await producer.send(prefix + "orders", record.value, record.key, partition=0)


run_async(echo(*sys.argv[1:]))
