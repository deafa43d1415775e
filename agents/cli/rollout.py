"""`tickpilot rollout rollback` and `shadow`: what operators do with bundles on `control`, Orchestrator or not."""

import asyncio
import hashlib
from typing import Annotated

import typer

from agents.assembly import trust_of
from agents.cli.answers import refusals, show
from agents.cli.control import Who, read_control, write_control
from agents.cli.options import AsJson, SettingsFile, load
from agents.lifecycle.process import run_async
from agents.orchestrator.rollback import rollback_of
from agents.settings import Settings
from bundles.loader import verify_files
from bundles.manifest import MANIFEST_NAME, Expectation, bundle_id
from bundles.registry import Registry, read_files
from messages import Refused, Shadow, SystemClock

app = typer.Typer(no_args_is_help=True, help="What trades: back to the bundle before.")

StrategyArgument = Annotated[str, typer.Argument(help="As in the settings.")]
BundleUri = Annotated[str | None, typer.Argument(help="The bundle's directory, or its address in a store.")]


class RolloutRefused(Refused):
    """Raised when a change of bundles makes no sense, or did not count."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(f"{what}: {detail}")
        self.what, self.detail = what, detail


@app.command()
def rollback(
    strategy: StrategyArgument,
    who: Who,
    settings: SettingsFile = None,
    *,
    json: AsJson = False,
) -> None:
    """Trade again with the bundle that traded before, on every instrument of the strategy, from the next step on.

    Replicas still hold that bundle, and the Orchestrator need not be up. Once more, and you are back where you were.
    """
    with refusals(json=json):
        show(run_async(_rollback(load(settings), strategy, who)), json=json)


def shadow(
    strategy: StrategyArgument,
    instrument: Annotated[str, typer.Argument(help="As in the settings.")],
    who: Who,
    bundle: BundleUri = None,
    off: Annotated[bool, typer.Option("--off", help="End the instrument's shadow.")] = False,
    settings: SettingsFile = None,
    *,
    json: AsJson = False,
) -> None:
    """Let a bundle decide on an instrument without sending anything, beside the one that trades.

    What it would want is in each decision's `shadow`; its errors touch nothing else.
    """
    with refusals(json=json):
        if (bundle is None) is not off:
            raise RolloutRefused(f"shadow of {instrument}", "give either a bundle or --off")
        loaded = load(settings)
        if loaded.strategy_of.get(instrument) != strategy:
            raise RolloutRefused(
                f"shadow of {instrument}", f"strategy {strategy} trades {_traded(loaded, strategy)} by the settings"
            )
        show(run_async(_shadow(loaded, strategy, instrument, bundle, who)), json=json)


async def _rollback(settings: Settings, strategy: str, who: str) -> dict[str, str]:
    fold, _ = await read_control(settings)
    back = rollback_of(fold, strategy, who=who, ts=SystemClock().now_ns())
    await write_control(settings, *back)
    fold, _ = await read_control(settings)
    lost = [w.instrument for w in back if fold.active[w.strategy, w.instrument].sha256 != w.sha256]
    if lost:
        raise RolloutRefused(
            f"rollback of {', '.join(lost)}",
            "somebody else wrote at the same time; look at `tickpilot status`, then repeat",
        )
    return {wanted.instrument: wanted.bundle_id for wanted in back}


async def _shadow(
    settings: Settings, strategy: str, instrument: str, uri: str | None, who: str
) -> dict[str, str | int | None]:
    named = {} if uri is None else await asyncio.to_thread(_named, settings, strategy, instrument, uri)
    fold, _ = await read_control(settings)
    message = Shadow(
        strategy=strategy,
        instrument=instrument,
        expects=fold.last_offset(f"shadow/{strategy}/{instrument}"),
        ts=SystemClock().now_ns(),
        who=who,
        **named,
    )
    (offset,) = await write_control(settings, message)
    fold, _ = await read_control(settings)
    now = fold.shadows.get((strategy, instrument))
    if (None if now is None else now.sha256) != message.sha256:
        raise RolloutRefused(
            f"shadow of {instrument}", "somebody else wrote at the same time; look at `tickpilot status`, then repeat"
        )
    return {"instrument": instrument, "bundle_id": message.bundle_id, "offset": offset}


def _named(settings: Settings, strategy: str, instrument: str, uri: str) -> dict[str, str]:
    """Check what can be checked here, and put the bundle where replicas can read it. Raises BundleRefused."""
    files = read_files(uri)
    expected = Expectation(strategy=strategy, instruments=(instrument,))
    manifest = verify_files(files, trust_of(settings), expected, allow_unsigned=settings.allow_unsigned)
    return {
        "bundle_id": bundle_id(manifest),
        "uri": Registry(settings.registry).put(files),
        "sha256": hashlib.sha256(files[MANIFEST_NAME]).hexdigest(),
    }


def _traded(settings: Settings, strategy: str) -> str:
    return ", ".join(name for name, of in settings.strategy_of.items() if of == strategy) or "nothing"
