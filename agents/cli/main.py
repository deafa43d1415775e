"""The command `tickpilot`: one file per group of commands, no logic of their own."""

import logging
import sys

import typer

from agents.cli import (
    bundle,
    bundle_bench,
    control,
    demo,
    doctor,
    explain,
    limits,
    replay,
    report,
    rollout,
    run,
    schema,
    topics,
)
from messages import TickpilotError

app = typer.Typer(
    name="tickpilot",
    help="Run reinforcement-learning trading policies on live Kafka streams.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("init")(run.init)
app.command("record")(replay.record)
app.command("replay")(replay.replay)
app.command("report")(report.report)
app.command("explain")(explain.explain_command)
app.command("halt")(control.halt)
app.command("resume")(control.resume)
app.command("flatten")(control.flatten)
app.command("override")(control.override)
app.command("shadow")(rollout.shadow)
app.command("status")(control.status)
app.command("doctor")(doctor.doctor)
app.add_typer(limits.app, name="limits")
app.add_typer(topics.app, name="topics")
app.add_typer(schema.app, name="schema")
app.add_typer(rollout.app, name="rollout")
bundle.app.command("bench")(bundle_bench.bench)
app.add_typer(bundle.app, name="bundle")


def main() -> None:
    """Run the command line; an error of ours is one clear line and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        app()
    except TickpilotError as error:
        sys.stderr.write(f"tickpilot: {error}\n")
        sys.exit(1)
