"""The proofs once more, on recorded quotes, trades and bars."""

from itertools import islice

import msgspec
import numpy as np
import pytest

from agents.feed.tabular import TabularSource
from bundles.features import DEFAULT_FEATURES, FeatureSpec, Observer, tick_rows
from messages import Bar, Quote, Trade
from tests.builders import data_dir
from tests.bundles.features.streams import EVERY_FEATURE, Message, observed

FILES = {
    "quotes and trades": (
        "nautilus_binance_btcusdt_20210108_quotes.csv",
        "nautilus_binance_btcusdt_20210108_trades.csv",
    ),
    "a busy hour": ("binance_spot_btcusdt_20240808_09_quotes.csv.gz", "binance_spot_btcusdt_20240808_09_trades.csv.gz"),
    "bars": ("nautilus_btc-perp_1m_20211231-20220201.csv.gz",),
}
TICKS = 4_000


@pytest.fixture(scope="module", params=FILES)
def messages(request: pytest.FixtureRequest) -> list[Message]:
    paths = [data_dir() / name for name in FILES[request.param]]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"no market data in {data_dir()}; set TICKPILOT_DATA")
    source = TabularSource([str(path) for path in paths], instrument="BTC")
    ticks = [message for message in islice(source, TICKS) if isinstance(message, Quote | Trade | Bar)]
    return [msgspec.structs.replace(tick, instrument="BTC") for tick in ticks]  # the files name it in ways of their own


@pytest.mark.parametrize("spec", [DEFAULT_FEATURES, EVERY_FEATURE], ids=["default", "all"])
def test_recorded_ticks_give_one_stream_of_bits(messages: list[Message], spec: FeatureSpec) -> None:
    observer = Observer(spec)
    rows = tick_rows(messages)["BTC"]
    batch, ready = observer.observe_all(rows, 300)
    assert ready[300:].mean() > 0.9
    assert np.isfinite(batch).all()
    whole = observed(messages, observer)
    assert batch.tobytes() == whole.tobytes()
    middle = len(messages) // 2
    assert observed(messages[middle - 300 :], observer)[300:].tobytes() == whole[middle:].tobytes()
    poisoned = rows.copy()
    poisoned[middle:, 1:] = 1e9
    assert observer.observe_all(poisoned, 300)[0][:middle].tobytes() == whole[:middle].tobytes()
