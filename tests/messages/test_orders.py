"""Order ids are for ever: adapters and recovery compare them across processes, machines and versions."""

from messages import order_id
from messages.orders import Source

SOURCE = Source(topic="market", partition=3, offset=1_234_567)


def test_the_id_of_an_order_never_changes() -> None:
    # Equal by hand: base32(blake2b-128 of each field as UTF-8 behind its length in four big-endian bytes).
    assert order_id("7f3c9a", "trend", "BTC-USD", SOURCE, 0) == "FLER5TWBBYL5TV4REKTGBDN3QM"
    assert (
        order_id("7f3c9a", "trend", "ETH/EUR-ä", Source(topic="market", partition=0, offset=0), 2)
        == "OO5JIRFGHGOMEHAU52ZUCC5JVQ"
    )


def test_every_part_of_the_source_makes_another_id() -> None:
    ids = {
        order_id("7f3c9a", "trend", "BTC-USD", SOURCE, 0),
        order_id("7f3c9b", "trend", "BTC-USD", SOURCE, 0),
        order_id("7f3c9a", "trend2", "BTC-USD", SOURCE, 0),
        order_id("7f3c9a", "trend", "ETH-USD", SOURCE, 0),
        order_id("7f3c9a", "trend", "BTC-USD", Source(topic="market2", partition=3, offset=1_234_567), 0),
        order_id("7f3c9a", "trend", "BTC-USD", Source(topic="market", partition=4, offset=1_234_567), 0),
        order_id("7f3c9a", "trend", "BTC-USD", Source(topic="market", partition=3, offset=1_234_568), 0),
        order_id("7f3c9a", "trend", "BTC-USD", SOURCE, 1),
        order_id("7f3c9", "atrend", "BTC-USD", SOURCE, 0),  # the same letters, cut elsewhere
    }
    assert len(ids) == 9
    assert {len(one) for one in ids} == {26}
