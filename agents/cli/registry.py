"""`tickpilot bundle list`, `history`, `pin`, `unpin`, `prune`: what the store holds, and for how long."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from agents.cli.answers import refusals, show
from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.lifecycle.process import run_async
from agents.settings import Settings
from bundles.registry import Registry
from bundles.registry.catalogue import Catalogue, Entry
from bundles.registry.live import LiveUnknown, live_digests
from bundles.signing import TrustStore
from messages import SystemClock, TickpilotError, UnknownMessage, decode
from messages.bus.reading import read_all

DAY_NS = 86_400 * 10**9
RegistryUri = Annotated[str | None, typer.Option("--registry", help="the store; else that of the settings")]
Digest = Annotated[str, typer.Argument(help="the bundle's digest, or its first digits")]
Who = Annotated[str, typer.Option("--who", help="your name, for the record")]
Reason = Annotated[str, typer.Option("--reason", help="why, for the record")]


def list_bundles(settings: SettingsFile = None, registry: RegistryUri = None, *, json: AsJson = False) -> None:
    """List the bundles of the store: what they are, who signed them, what expired, what is pinned."""
    with refusals(json=json):
        _show_entries(_catalogue(load(settings), registry).list(), json=json)


def history(
    strategy: Annotated[str, typer.Argument(help="the strategy's name")],
    settings: SettingsFile = None,
    registry: RegistryUri = None,
    *,
    json: AsJson = False,
) -> None:
    """List the bundles of one strategy in order of sequence."""
    with refusals(json=json):
        _show_entries(_catalogue(load(settings), registry).history(strategy), json=json)


def pin(
    digest: Digest,
    who: Who,
    reason: Reason,
    settings: SettingsFile = None,
    registry: RegistryUri = None,
    *,
    json: AsJson = False,
) -> None:
    """Keep a bundle from `prune`, whatever its age, until `unpin`."""
    with refusals(json=json):
        catalogue = _catalogue(load(settings), registry)
        whole = catalogue.find(digest)
        recorded = catalogue.pin(whole, who=who, why=reason)
        show({"digest": whole, **msgspec.to_builtins(recorded)}, json=json)


def unpin(digest: Digest, settings: SettingsFile = None, registry: RegistryUri = None, *, json: AsJson = False) -> None:
    """Let `prune` remove a bundle again."""
    with refusals(json=json):
        catalogue = _catalogue(load(settings), registry)
        whole = catalogue.find(digest)
        show({"digest": whole, "was_pinned": catalogue.unpin(whole)}, json=json)


def prune(
    keep: Annotated[int, typer.Option("--keep", min=1, help="keep the newest N of each strategy")] = 5,
    days: Annotated[float, typer.Option("--younger-than-days", min=0.0, help="keep what is younger")] = 7.0,
    settings: SettingsFile = None,
    registry: RegistryUri = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run/--remove", help="only say what would go")] = True,
    json: AsJson = False,
) -> None:
    """Remove old bundles and what crashed puts left; says only what would go, unless --remove is given.

    What is pinned stays, and what `control` on the settings' bus names: live, live before, or being rolled out.
    """
    with refusals(json=json):
        loaded = load(settings)
        # A memory:// bus ends with its process: no one else can trade from this store through it.
        asked = not loaded.bus.startswith("memory://")
        live = run_async(_live(loaded)) if asked else frozenset[str]()
        catalogue = _catalogue(loaded, registry)
        plan = catalogue.plan(keep=keep, younger_than_ns=int(days * DAY_NS), live=live)
        done = plan if dry_run else catalogue.prune(plan)
        answer = {"dry_run": dry_run, "control_read": asked, **msgspec.to_builtins(done)}
        if json:
            show(answer, json=True)
            return
        for entry in done.remove:
            typer.echo(f"{'would remove' if dry_run else 'removed'} {_line(entry)}")
        for name in done.leftovers:
            typer.echo(f"{'would remove' if dry_run else 'removed'} {name} (left by a put that was cut off)")
        typer.echo(
            f"{len(done.remove)} of {len(done.remove) + len(done.kept)} bundles, {len(done.leftovers)} leftovers"
        )
        if not asked:
            typer.echo("no bus in the settings: what is live was not asked for")


async def _live(settings: Settings) -> frozenset[str]:
    # Whatever keeps control from being read keeps prune from removing anything.
    bus = connect_to(settings, "tickpilot-bundle-prune")
    try:
        records, _ = await read_all(bus, ["control"])
        messages = [(record.offset, decode("control", record.value, record.headers)) for record in records]
    except TickpilotError as error:
        raise LiveUnknown(str(error)) from error
    finally:
        await bus.stop()
    for offset, message in messages:
        if isinstance(message, UnknownMessage):
            raise LiveUnknown(f"`control` holds a {message.type} at offset {offset}, from a newer version")
    return live_digests(messages)


def _catalogue(settings: Settings, registry: str | None) -> Catalogue:
    trust = TrustStore.read(Path(settings.trust)) if settings.trust is not None else None
    return Catalogue(Registry(registry or settings.registry), SystemClock(), trust)


def _show_entries(entries: tuple[Entry, ...], *, json: bool) -> None:
    if json:
        typer.echo(msgspec.json.encode(entries).decode())
        return
    for entry in entries:
        typer.echo(_line(entry))


def _line(entry: Entry) -> str:
    if entry.problem is not None:
        return f"{entry.digest[:12]} UNREADABLE {entry.problem}"
    created = datetime.fromtimestamp(entry.created / 1e9, UTC).strftime("%Y-%m-%d %H:%M")
    who = ",".join(f"{signer.key_id[:8]}:{signer.standing}" for signer in entry.signers) or "unsigned"
    marks = ("  EXPIRED" if entry.expired else "") + (f"  pinned by {entry.pinned.who}" if entry.pinned else "")
    return (
        f"{entry.digest[:12]} {entry.strategy} #{entry.sequence} {created} {entry.size} bytes {who}"
        f" id {entry.bundle_id}{marks}"
    )


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_bundles,
    "history": history,
    "pin": pin,
    "unpin": unpin,
    "prune": prune,
}
