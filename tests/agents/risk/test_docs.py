"""docs/risk.md says what the code does: its tables are compared with the code, its examples are run through it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields

from agents.risk.calculators import METRICS, QUANTITIES, SCALARS, SERIES
from agents.risk.engine import LIMIT_OF
from agents.risk.limits.file import Limits, OrderLimits, PortfolioLimits
from messages.denials import DENIAL_TEXTS
from tests.agents.risk.scenes import NOW, Scene, Story, limits_of, proposal, said
from tests.rules.tree import ROOT

PAGE = (ROOT / "docs" / "risk.md").read_text(encoding="utf-8")
Row = dict[str, str]


def tables() -> Iterator[list[Row]]:
    """Every table of the page: its rows, cells by the head of their column."""
    for found in re.finditer(r"^\|.*\n\|[ \-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines()]
        yield [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def table(*heads: str) -> list[Row]:
    """The one table with those columns."""
    (found,) = [rows for rows in tables() if tuple(rows[0]) == heads]
    return found


ORDER_LIMITS, PORTFOLIO_LIMITS = (
    table("limit", "unit", "default", then, "code", "serves") for then in ("an order is denied when", "passing it")
)
GATE_EXAMPLES = table("limits", "what there is", "order", "answer")
PORTFOLIO_EXAMPLES = table("limits", "what happened", "what is passed")


@pytest.mark.parametrize(("rows", "kind"), [(ORDER_LIMITS, OrderLimits), (PORTFOLIO_LIMITS, PortfolioLimits)])
def test_every_limit_stands_there_with_its_default(rows: list[Row], kind: Any) -> None:
    wanted = {f"`{field.name}`": "none" if field.default is None else f"{field.default:.10g}" for field in fields(kind)}
    assert {row["limit"]: row["default"] for row in rows} == wanted


def test_every_limit_names_its_code_and_has_an_example() -> None:
    said = {(row["code"].strip("`"), row["limit"].strip("`")) for row in ORDER_LIMITS}
    assert said == {(code.value, limit) for code, text in DENIAL_TEXTS.items() for limit in text.limits}
    for rows, examples, answer in (
        (ORDER_LIMITS, GATE_EXAMPLES, "answer"),
        (PORTFOLIO_LIMITS, PORTFOLIO_EXAMPLES, "what is passed"),
    ):
        shown = {limit for example in examples for limit in limits_of(example["limits"])}
        assert shown == {row["limit"].strip("`") for row in rows}
        answered = " ".join(example[answer] for example in examples)
        assert all(row["code"].strip("`") in answered for row in rows)


def test_every_rule_that_a_limit_serves_is_in_the_list_of_rules() -> None:
    articles = {row["article"] for row in table("article", "asks for", "here")}
    paragraphs = {row["paragraph"] for row in table("paragraph", "asks for", "here")}
    for row in [*ORDER_LIMITS, *PORTFOLIO_LIMITS]:
        for article in re.findall(r"\b(\d+(?:\([0-9a-z]+\))*)(?=[,;]|$)", row["serves"].partition("15c3-5")[0]):
            assert any(article == known or article.startswith(f"{known}(") for known in articles), article
        for paragraph in re.findall(r"15c3-5(\([^ ]*\))", row["serves"]):
            assert paragraph in paragraphs


def test_every_denial_stands_there_with_what_it_says_and_what_to_do() -> None:
    rows = "\n".join(f"| `{code.value}` | {text.says} | {text.to_do} |" for code, text in DENIAL_TEXTS.items())
    assert rows in PAGE, f"the table should be:\n{rows}"


def test_every_quantity_and_every_metric_stands_there() -> None:
    rows = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in QUANTITIES.items())
    assert rows in PAGE, f"the table should be:\n{rows}"
    needs = {metric: wanted for metric, (wanted, _) in SCALARS.items()}
    needs |= {metric: (name,) for name, (metrics, _) in SERIES.items() for metric in metrics}
    assert [(row["metric"], row["needs"], row["limit"]) for row in table("metric", "needs", "what it is", "limit")] == [
        (f"`{name}`", ", ".join(f"`{need}`" for need in needs[name]), f"`{LIMIT_OF[name]}`" if name in LIMIT_OF else "")
        for name in METRICS
    ]


def test_every_alert_of_the_code_stands_there() -> None:
    told = set(
        re.findall(r"`([A-Z_]{4,})`", " ".join(row["code"] for row in table("code", "severity", "says", "it ends")))
    )
    folder = ROOT / "agents"
    code = "\n".join(
        (folder / name).read_text()
        for name in ("risk/agent.py", "risk/watch/execution_check.py", "risk/watch/portfolio.py")
    )
    of_risk = set(re.findall(r'(?:code=|_over\()"([A-Z_]+)"', code)) | set(re.findall(r'code = "([A-Z_]+)"', code))
    named = "\n".join((folder / name).read_text() for name in ("execution/alerts.py", "venue/intake.py"))
    of_others = set(re.findall(r'^[A-Z_]+(?:, [A-Z_]+)? = "([A-Z_]+)"', named, re.MULTILINE))
    of_others |= set(re.findall(r'code="([A-Z_]+)"', (folder / "orchestrator" / "agent.py").read_text()))
    assert {"ORDERS_MISSING", "ROLLOUT_ABORTED", "POLICY_FALLBACK"} <= of_others
    assert told >= of_risk | of_others


def test_the_limits_file_and_the_code_of_the_page_are_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```yaml\nlimits:\n(.*?)```", PAGE, re.DOTALL)
    limits = Limits.parse(text)
    assert limits.for_pair("careful", "ETHUSDT").max_position == 0.2
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("limits.yaml").write_text("", encoding="utf-8")
    found: dict[str, Any] = {}
    for statement in re.split(r"\n(?=\S)", code.strip()):
        source, _, said = statement.partition("# ")
        exec(source, found)
        if said:
            answer = eval(source, found)
            assert re.split(r"[:]? (?=half)|: half", str(answer))[0] == said.split(": half")[0].strip()


@pytest.mark.parametrize("row", GATE_EXAMPLES, ids=lambda row: " ".join(row.values()))
def test_the_gate_answers_as_the_page_says(row: Row) -> None:
    scene = Scene(limits_of(row["limits"]))
    for words in re.split(r", (?!\d+ s ago)", row["what there is"]):
        scene.say(words)
    denial = scene.gate.check(proposal(row["order"]), scene.view, NOW)
    assert ("passes" if denial is None else f"`{denial}`") == row["answer"]


@pytest.mark.parametrize("row", PORTFOLIO_EXAMPLES, ids=lambda row: " ".join(row.values()))
def test_the_portfolio_is_judged_as_the_page_says(row: Row) -> None:
    story = Story(limits_of(row["limits"]))
    for words in row["what happened"].split(", "):
        story.say(words)
    breaches = [*story.portfolio.breaches(story.now_ns), *story.check.breaches()]
    assert ", ".join(said(breach, row["what is passed"]) for breach in breaches) == (
        "" if row["what is passed"] == "nothing" else row["what is passed"]
    )
