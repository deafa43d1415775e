"""How long orders are under way: constant, drawn from quantiles or from a file, and the same for the same id."""

from pathlib import Path
from typing import Any

import pytest

from agents.errors import SettingsError
from agents.venue.config import VenueConfig
from agents.venue.latency import Latency, latency_of, read_latencies
from tests.agents.venue.market import MS, order, ordered, quote, run, ticks

NAMES = [f"o{n}" for n in range(20_000)]


def config(**changes: Any) -> VenueConfig:
    return VenueConfig(**changes)


def test_a_constant_is_the_same_for_all() -> None:
    assert {latency_of(config(latency_ns=7)).of(name) for name in NAMES[:100]} == {7}


def test_a_draw_depends_on_the_seed_and_the_id_alone() -> None:
    drawn = [latency_of(config(latency_quantiles_ns=(0, 10**9), latency_seed=seed)) for seed in (1, 1, 2)]
    assert [drawn[0].of(name) for name in NAMES[:50]] == [drawn[1].of(name) for name in reversed(NAMES[:50])][::-1]
    assert [drawn[0].of(name) for name in NAMES[:50]] != [drawn[2].of(name) for name in NAMES[:50]]
    assert drawn[0].of("o0") == 76_538_531  # for ever: a recording has to come out the same


def test_quantiles_give_the_distribution_they_describe() -> None:
    latency = latency_of(config(latency_quantiles_ns=(MS, 2 * MS, 4 * MS, 20 * MS)))  # 0, 1/3, 2/3, 1
    drawn = sorted(latency.of(name) for name in NAMES)
    assert MS <= drawn[0] < drawn[-1] < 20 * MS
    assert drawn[len(drawn) // 3] == pytest.approx(2 * MS, rel=0.02)
    assert drawn[len(drawn) * 2 // 3] == pytest.approx(4 * MS, rel=0.05)
    assert drawn[len(drawn) * 5 // 6] == pytest.approx(12 * MS, rel=0.05)


def test_a_file_gives_its_own_values_as_often_as_it_holds_them(tmp_path: Path) -> None:
    recorded = tmp_path / "latencies.txt"
    recorded.write_text("# ns\n1000000\n\n2000000  # twice\n2000000\n9000000\n", encoding="utf-8")
    latency = latency_of(config(latency_file=str(recorded)))
    drawn = [latency.of(name) for name in NAMES]
    assert set(drawn) == {MS, 2 * MS, 9 * MS}
    assert drawn.count(2 * MS) / len(drawn) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no latency"),
        ("# nothing\n", "holds no latency"),
        ("5\n-3\n", ":2: '-3' is not 0 to 60000000000 ns"),
        ("1.5\n", ":1: '1.5' is not"),
        ("60000000001\n", ":1: '60000000001' is not"),
        ("p50,p99\n", ":1: 'p50,p99' is not"),
    ],
)
def test_a_file_that_holds_anything_else_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    recorded = tmp_path / "latencies.txt"
    recorded.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"venue\.latency_file") as caught:
        read_latencies(recorded)
    assert says in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't read"):
        latency_of(config(latency_file=str(tmp_path / "none")))


@pytest.mark.parametrize(
    "changes", [{"latency_file": "x", "latency_quantiles_ns": (1, 2)}, {"latency_quantiles_ns": (2, 1)}]
)
def test_settings_that_contradict_themselves_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        latency_of(config(**changes))


def test_an_empty_distribution_is_refused() -> None:
    with pytest.raises(SettingsError):
        Latency(())


def test_an_order_meets_the_quote_of_its_own_latency() -> None:
    changes = config(latency_quantiles_ns=(0, 100 * MS), latency_seed=3)
    latency = latency_of(changes)
    market = ticks(*(quote(at, ask=101 + at) for at in range(200)))
    for name in NAMES[:20]:
        (report,) = run(ordered((0, order(0, 0, order_id=name))), market, config=changes)
        assert report.ts_event == -(-latency.of(name) // MS) * MS or report.ts_event == MS
