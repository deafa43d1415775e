import io
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from agents.replay.outcomes import DENIALS
from agents.report.figures import Series, series_of, summarise
from agents.report.page import format_page, write_report
from agents.report.plots import POINTS, draw_equity, draw_exposure, draw_pictures, thin
from agents.report.summary import Summary, render_table
from agents.risk.limits.file import PortfolioLimits
from messages import DenialCode
from tests.agents.report.run_log import INSTRUMENTS, RunLog, swapped_run

PNG = b"\x89PNG\r\n"


def read(log: RunLog) -> tuple[Summary, Series]:
    summary = summarise(log, partitions=1, instruments=INSTRUMENTS, cash=1_000.0, decision_ns=[900, 70_000])
    series = series_of(log, partitions=1, instruments=INSTRUMENTS, cash=1_000.0, decision_ns=[900, 70_000])
    return summary, series


def test_page_holds_everything_and_refers_to_nothing_outside(tmp_path: Path) -> None:
    page = write_report(tmp_path / "deep" / "report.html", *read(swapped_run())).read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 7
    text = re.sub(r'src="data:image/png;base64,[^"]*"', "", page)
    assert not re.search(r"https?:|//|src=|href=|url\(|@import|<script", text)
    for words in ("ticks lost", "duplicate orders", "PnL of run-1", "how it was counted", "orders digest"):
        assert words in text


def test_page_escapes_text_that_came_from_outside(tmp_path: Path) -> None:
    summary, series = read(RunLog())
    nasty = msgspec.structs.replace(summary, pnl={"<script>alert(1)</script>": 1.0}, training_failed="<b>&")
    page = write_report(tmp_path / "report.html", nasty, series, title="<i>").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page


def test_pictures_are_drawn_of_a_run_that_was_stopped_at_once() -> None:
    series = series_of(RunLog(), partitions=1, instruments=INSTRUMENTS, cash=0.0)
    assert all(picture.png.startswith(PNG) for picture in draw_pictures(series))


def test_pictures_are_drawn_without_instruments() -> None:
    series = series_of(RunLog(), partitions=1, instruments={}, cash=0.0)
    assert len(draw_pictures(series)) == 6  # no latency is known


def test_denials_are_told_with_their_numbers_and_what_they_mean() -> None:
    page = format_page(read(swapped_run())[0], [], title="t")
    assert "<td>MAX_POSITION</td><td>1</td>" in page
    assert f"{DENIALS[DenialCode.MAX_POSITION].partition('`')[0]}<code>max_position</code>" in page
    assert "the newest: <code>MAX_POSITION limit=1</code>; by instrument: BTC 1" in page
    assert "Why orders were denied" not in format_page(read(RunLog())[0], [], title="t")


def test_limits_are_drawn_whether_near_or_far() -> None:
    for limits in (PortfolioLimits(), PortfolioLimits(max_gross_exposure=1.0, max_net_exposure=1.0, max_drawdown=1e-6)):
        series = series_of(swapped_run(), partitions=1, instruments=INSTRUMENTS, cash=1_000.0, limits=limits)
        for draw in (draw_equity, draw_exposure):
            legends = [axis.get_legend() for axis in draw(series).axes]
            assert "limit" in legends[-1].get_texts()[0].get_text()


def test_thinning_keeps_both_ends_and_the_extremes() -> None:
    values = np.sin(np.linspace(0, 60, 50_000))
    values[12_345], values[31_313] = 9.0, -9.0
    kept = thin(values)
    assert len(kept) <= POINTS + 2
    assert {0, 12_345, 31_313, 49_999} <= set(kept.tolist())
    assert np.all(np.diff(kept) > 0)


@pytest.mark.parametrize(("lost", "style"), [(0, False), (3, True)])
def test_table_shows_lost_ticks_loudly(lost: int, style: bool) -> None:
    summary = msgspec.structs.replace(read(swapped_run())[0], lost_ticks=lost)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render_table(summary))
    assert ("\x1b[1;31m" in console.export_text(styles=True)) is style


def test_summary_as_json_has_the_promised_keys() -> None:
    found = msgspec.json.decode(msgspec.json.encode(read(swapped_run())[0]))
    promised = (
        "ticks decisions orders fills denials lost_ticks duplicate_orders swaps swap_us staging_ms pnl decision_us "
        "orders_digest report"
    )
    assert set(promised.split()) <= set(found)
    assert set(found["decision_us"]) == {"p50", "p99", "max"}
