"""The example feeder prints what `market` takes."""

import subprocess
from pathlib import Path

from messages import Quote, Trade, decode

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "made_up_ticks.sh"


def test_every_line_is_a_key_and_a_market_message_in_the_order_of_time() -> None:
    done = subprocess.run(["sh", SCRIPT, "ETHUSDT", "101"], capture_output=True, check=True, timeout=30)
    pairs = [line.split(b":", 1) for line in done.stdout.splitlines()]
    messages = [decode("market", value) for _, value in pairs]
    assert {key for key, _ in pairs} == {b"ETHUSDT"}
    assert {message.instrument for message in messages} == {"ETHUSDT"}
    assert [type(message) for message in messages] == [Quote, Trade] * 101
    assert [message.ts_recv for message in messages] == sorted(message.ts_recv for message in messages)
    assert [message.aggressor for message in messages if isinstance(message, Trade)] == ["buy"] * 100 + ["sell"]
