"""`tickpilot limits show` and `set`: the limits in force, and changing them while everything runs."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from agents.cli.answers import refusals
from agents.cli.control import Reason, Who, write_control
from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.cli.tables import limits_tables, shown
from agents.lifecycle.process import run_async
from agents.risk.limits.change import Change, ChangeRefused, changes_between, parse_changes
from agents.risk.limits.effective import effective_limits
from agents.risk.limits.fit import check_fit
from agents.risk.limits.in_force import LimitsInForce
from agents.settings import Settings
from messages import Limits, SystemClock
from messages.bus.reading import message_in, read_all
from messages.control import ControlMessage
from messages.control_fold import ControlFold

app = typer.Typer(help="See the limits in force, and change them at run time.", no_args_is_help=True)
_ATTEMPTS = 5


class Found(Struct, frozen=True, kw_only=True):
    """What `control` says of limits: those in force, the valid records in order, and the one that set each key."""

    in_force: LimitsInForce
    records: tuple[tuple[int, Limits], ...]
    set_by: Mapping[str, Limits]

    @property
    def version(self) -> int:
        """The version that the next record follows."""
        return self.records[-1][1].version if self.records else 0


@app.command("show")
def show_limits(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Show what holds now: the limits file, and what `control` has changed of it."""
    loaded = load(settings)
    found = run_async(read_limits(loaded))
    effective = effective_limits(found.in_force, loaded.strategy_of)
    if as_json:
        changed = {"version": found.version, "changes": found.in_force.changes}
        typer.echo(msgspec.json.encode({**changed, **msgspec.to_builtins(effective)}).decode())
        return
    typer.echo(limits_tables(effective))
    typer.echo(f"version {found.version}; changed since the file:" if found.in_force.changes else "as in the file")
    for key, value in sorted(found.in_force.changes.items()):
        typer.echo(f"  {key} = {shown(value)} by {found.set_by[key].who}: {found.set_by[key].reason}")


@app.command("set")
def set_limits(
    changes: Annotated[
        list[str],
        typer.Argument(
            help="KEY=VALUE: defaults.LIMIT, portfolio.LIMIT, instruments.NAME.LIMIT or strategies.NAME.LIMIT; several "
            "take effect together."
        ),
    ],
    who: Who,
    reason: Reason,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Change limits at once, everywhere; it stays so over restarts until it is changed again."""
    with refusals(json=as_json):
        loaded = load(settings)
        wanted = parse_changes(changes)
        offset, version, made = run_async(_set(loaded, wanted, who, reason))
        if as_json:
            answer = {"accepted": True, "offset": offset, "version": version, "changes": made}
            typer.echo(msgspec.json.encode(answer).decode())
            return
        for change in made:
            typer.echo(f"{change.key}: {shown(change.old)} -> {shown(change.new)} ({change.direction})")
        typer.echo(f"written at control offset {offset}, version {version}")


async def read_limits(settings: Settings) -> Found:
    """Return what `control` on the settings' bus says of limits now."""
    bus = connect_to(settings, "operator")
    try:
        records, _ = await read_all(bus, ["control"])
    finally:
        await bus.stop()
    fold, valid, set_by = ControlFold(), list[tuple[int, Limits]](), dict[str, Limits]()
    in_force = LimitsInForce(settings.limits, partitions=settings.shards)
    for record in records:
        message = message_in(record)
        if isinstance(message, ControlMessage) and fold.apply(record.offset, message) and isinstance(message, Limits):
            valid.append((record.offset, message))
            if in_force.apply(message.changes) is None:
                set_by.update(dict.fromkeys(message.changes, message))
    return Found(in_force=in_force, records=tuple(valid), set_by=set_by)


async def _set(
    settings: Settings, wanted: Mapping[str, float], who: str, reason: str
) -> tuple[int, int, Sequence[Change]]:
    """Write the change; if somebody else's came between, look again: theirs stays, unless it is of the same limits."""
    found = await read_limits(settings)
    for _ in range(_ATTEMPTS):
        made = _judged(settings, found.in_force, wanted)
        message = Limits(
            version=found.version + 1, changes=dict(wanted), who=who, reason=reason, ts=SystemClock().now_ns()
        )
        (offset,) = await write_control(settings, message)
        seen, found = len(found.records), await read_limits(settings)
        if any(at == offset for at, _ in found.records):
            return offset, message.version, made
        for _, other in found.records[seen:]:
            if same := sorted(wanted.keys() & other.changes.keys()):
                raise ChangeRefused(
                    f"{other.who} has changed {', '.join(same)} at the same moment ({other.reason}); yours does not "
                    "count: look at `tickpilot limits show`, then repeat"
                )
    raise ChangeRefused(f"others were first {_ATTEMPTS} times; nothing of yours counts: repeat")


def _judged(settings: Settings, in_force: LimitsInForce, wanted: Mapping[str, float]) -> Sequence[Change]:
    """Return what would change. Raises SettingsError, ChangeRefused: then nothing is written."""
    after = LimitsInForce(settings.limits, partitions=settings.shards, changes=in_force.changes)
    if (why := after.apply(wanted)) is not None:
        raise why
    check_fit(after.limits, settings.instruments_by_name, settings.strategies, where="limits change")
    return changes_between(in_force.limits, after.limits, wanted)
