"""What may change in a schema and what may not, on hand-made pairs; the command that says so."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.cli.schema import app
from messages.growth import breaking_changes, changes
from messages.schema import json_schema

Schema = dict[str, Any]

OLD: Schema = {
    "anyOf": [{"$ref": "#/$defs/Quote"}, {"$ref": "#/$defs/Batch"}],
    "$defs": {
        "Quote": {
            "properties": {
                "type": {"const": "Quote"},
                "bid": {"type": "number", "minimum": 0},
                "side": {"enum": ["buy", "sell"]},
                "seq": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}], "default": None},
                "plan": {"type": "string", "maxLength": 8, "pattern": "^a", "default": "a"},
            },
            "required": ["type", "bid", "side"],
            "additionalProperties": True,
        },
        "Part": {"properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": True},
        "Gap": {"properties": {"type": {"const": "Gap"}}, "required": ["type"], "additionalProperties": True},
        "Batch": {
            "properties": {
                "type": {"const": "Batch"},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
                "inputs": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Gap"}]}, "default": []},
                "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
            },
            "required": ["type", "parts", "pair"],
            "additionalProperties": True,
        },
        "topics.market": {"anyOf": [{"$ref": "#/$defs/Quote"}]},
        "topics.log": {"anyOf": [{"$ref": "#/$defs/Batch"}]},
    },
}


def grown(change: Callable[[Schema], object]) -> Schema:
    new = copy.deepcopy(OLD)
    change(new["$defs"])
    return new


def add_message(new: Schema) -> None:
    new["anyOf"].append({"$ref": "#/$defs/Gap"})
    new["$defs"]["topics.market"]["anyOf"].append({"$ref": "#/$defs/Gap"})


def test_equal_schemas_have_no_changes() -> None:
    assert changes(OLD, copy.deepcopy(OLD)) == []
    assert changes(json_schema(), json_schema()) == []


def test_new_messages_topics_and_optional_fields_are_allowed() -> None:
    new = grown(lambda defs: defs["Quote"]["properties"].update(venue={"type": "string", "default": ""}))
    add_message(new)
    new["$defs"]["topics.gaps"] = {"anyOf": [{"$ref": "#/$defs/Gap"}]}
    assert breaking_changes(OLD, new) == []
    assert sorted(str(change) for change in changes(OLD, new)) == [
        "Gap: is new: allowed: who doesn't know it ignores it",
        "Quote.venue: is new and optional: allowed: who doesn't know it ignores it",
        "topic gaps: is new: allowed: nobody reads it yet",
        "topic market: also holds Gap: allowed: who doesn't know it ignores it",
    ]


def test_words_and_the_names_of_parts_are_free() -> None:
    def change(defs: Schema) -> None:
        defs["Quote"]["description"] = "Other words."
        defs["Quote"]["properties"]["bid"]["description"] = "EUR"
        defs["Piece"] = defs.pop("Part")
        defs["Batch"]["properties"]["parts"]["items"] = {"$ref": "#/$defs/Piece"}

    assert changes(OLD, grown(change)) == []


def properties(defs: Schema, kind: str = "Quote") -> Schema:
    fields: Schema = defs[kind]["properties"]
    return fields


def required_venue(defs: Schema) -> None:
    properties(defs)["venue"] = {"type": "string"}
    defs["Quote"]["required"].append("venue")


def renamed_bid(defs: Schema) -> None:
    properties(defs)["price"] = properties(defs).pop("bid")
    defs["Quote"]["required"].remove("bid")


def deeper_part(defs: Schema) -> None:
    defs["Part"]["properties"]["m"] = {"type": "string"}
    defs["Part"]["required"].append("m")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (required_venue, "Quote.venue: is required now: breaks writers of yesterday because their records may lack it"),
        (lambda d: d["Quote"]["required"].append("seq"), "Quote.seq: is required now: breaks writers"),
        (renamed_bid, "Quote.bid: is gone: breaks readers of yesterday because they refuse records without it"),
        (lambda d: properties(d).pop("seq"), "Quote.seq: is gone: breaks readers"),
        (lambda d: d["Quote"]["required"].remove("bid"), "Quote.bid: is optional now: breaks readers"),
        (lambda d: properties(d)["bid"].update(type="integer"), "Quote.bid: no longer takes number: breaks writers"),
        (lambda d: properties(d)["bid"].update(minimum=1), "Quote.bid: minimum was 0 and is 1: breaks writers"),
        (lambda d: properties(d)["bid"].update(maximum=1), "Quote.bid: maximum was None and is 1: breaks writers"),
        (lambda d: properties(d)["bid"].pop("minimum"), "Quote.bid: minimum was 0 and is None: breaks readers"),
        (lambda d: properties(d)["side"]["enum"].remove("buy"), "Quote.side: no longer takes 'buy': breaks writers"),
        (lambda d: properties(d)["side"]["enum"].append("hold"), "Quote.side: also takes 'hold': breaks readers"),
        (lambda d: properties(d)["seq"]["anyOf"].pop(), "Quote.seq: no longer takes null: breaks writers"),
        (lambda d: properties(d)["seq"]["anyOf"][0].update(maximum=8), "Quote.seq: maximum was 9 and is 8"),
        (lambda d: properties(d)["plan"].update(maxLength=9), "Quote.plan: maxLength was 8 and is 9: breaks readers"),
        (lambda d: properties(d)["plan"].update(pattern="^b"), "Quote.plan: pattern was '^a' and is '^b'"),
        (lambda d: properties(d)["plan"].update(default="b"), "Quote.plan: its default was 'a' and is 'b'"),
        (lambda d: properties(d).update(type={"const": "quote"}), "Quote.type: no longer takes 'Quote'"),
        (lambda d: d["Quote"].update(additionalProperties=False), "Quote: refuses unknown fields: breaks writers"),
        (deeper_part, "Batch.parts[].m: is required now: breaks writers"),
        (
            lambda d: properties(d, "Batch")["inputs"]["items"]["anyOf"].append({"$ref": "#/$defs/Quote"}),
            "Batch.inputs[]: also takes Quote: breaks readers",
        ),
        (
            lambda d: properties(d, "Batch")["pair"]["prefixItems"].append({"type": "null"}),
            "Batch.pair: has 3 places instead of 2: breaks readers",
        ),
        (
            lambda d: properties(d, "Batch")["pair"]["prefixItems"][0].update(type="integer"),
            "Batch.pair[0]: no longer takes string: breaks writers",
        ),
        (lambda d: d["topics.market"]["anyOf"].pop(), "topic market: no longer holds Quote: breaks writers"),
        (lambda d: d.pop("topics.log"), "topic log: is gone: breaks readers"),
    ],
)
def test_all_else_breaks_somebody_and_says_whom(change: Callable[[Schema], object], says: str) -> None:
    assert any(text.startswith(says) for text in breaking_changes(OLD, grown(change))), breaking_changes(
        OLD, grown(change)
    )


def test_a_message_that_is_gone_breaks_readers() -> None:
    new = copy.deepcopy(OLD)
    new["anyOf"].pop()
    assert breaking_changes(OLD, new)[0].startswith("Batch: is gone: breaks readers of yesterday")


def test_the_command_judges_a_schema_of_yesterday(tmp_path: Path) -> None:
    yesterday = json_schema()
    (tmp_path / "same.json").write_text(json.dumps(yesterday))
    result = CliRunner().invoke(app, ["check", str(tmp_path / "same.json")])
    assert (result.exit_code, result.output) == (0, "nothing has changed\n")

    del yesterday["$defs"]["Quote"]["properties"]["seq"]
    (tmp_path / "less.json").write_text(json.dumps(yesterday))
    result = CliRunner().invoke(app, ["check", str(tmp_path / "less.json")])
    assert (result.exit_code, result.output) == (
        0,
        "Quote.seq: is new and optional: allowed: who doesn't know it ignores it\n",
    )

    yesterday["$defs"]["Quote"]["properties"]["venue"] = {"type": "string"}
    (tmp_path / "more.json").write_text(json.dumps(yesterday))
    result = CliRunner().invoke(app, ["check", str(tmp_path / "more.json")])
    assert result.exit_code == 1
    assert "Quote.venue: is gone: breaks readers of yesterday" in result.output


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"anyOf": [{}], "$defs": {}}'])
def test_a_file_that_is_no_schema_of_ours_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(content)
    result = CliRunner().invoke(app, ["check", str(tmp_path / "bad.json")])
    assert result.exit_code == 2
    assert "tickpilot schema json" in result.output
