"""`tickpilot bundle keygen|sign|verify|inspect|publish`; what is stored is in registry.py, bench in bundle_bench.py."""

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from agents.assembly import trust_of
from agents.cli import registry as stored
from agents.cli.answers import refusals, show
from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.lifecycle.process import run_async
from agents.settings import Settings
from bundles.loader import LoadedBundle, check_contents, stage, verify_files
from bundles.manifest import MANIFEST_NAME, SIGNATURE_NAME, Expectation, Manifest, bundle_id, decode_manifest
from bundles.registry import Registry, read_files
from bundles.registry.catalogue import standings
from bundles.signing import SigningKey, TrustStore, add_signature, signers
from bundles.verifier import Verifier
from messages import BundleReady, NewRecord, SystemClock, encode

app = typer.Typer(no_args_is_help=True, help="Keys, signatures, checks, publishing and keeping of bundles.")
for _name, _command in stored.COMMANDS.items():
    app.command(_name)(_command)

Directory = Annotated[Path, typer.Argument(help="the bundle's directory")]
BundleUri = Annotated[str, typer.Argument(help="the bundle's directory, or its address in a store")]


@app.command()
def keygen(
    path: Annotated[Path, typer.Argument(help="the private key's file, e.g. keys/trainer.key")],
    *,
    json: AsJson = False,
) -> None:
    """Make a signing key: PATH, which only you can read, and its public half beside it, .pub."""
    with refusals(json=json):
        key = SigningKey.generate()
        key.write(path)
        show({"key_id": key.key_id, "private": str(path), "public": str(path.with_suffix(".pub"))}, json=json)


@app.command("sign")
def sign_bundle(
    directory: Directory,
    key: Annotated[Path, typer.Option("--key", help="the private key's file")],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="drop what other keys have signed")] = False,
    json: AsJson = False,
) -> None:
    """Sign a bundle, beside what other keys have signed. What it holds is checked against its metadata first."""
    with refusals(json=json):
        files = read_files(str(directory))
        check_contents(files, decode_manifest(files[MANIFEST_NAME]))
        signing_key = SigningKey.read(key)
        fresh = directory.parent / f".{directory.name}.sig"
        before = None if replace else files.get(SIGNATURE_NAME)
        envelope = add_signature(files[MANIFEST_NAME], before, signing_key)
        fresh.write_bytes(envelope)
        fresh.replace(directory / SIGNATURE_NAME)
        show({"key_id": signing_key.key_id, "signers": signers(envelope), "sha256": _digest(files)}, json=json)


@app.command()
def verify(
    uri: BundleUri,
    trust: Annotated[Path | None, typer.Option("--trust", help="the directory of trusted .pub files")] = None,
    strategy: Annotated[str | None, typer.Option(help="must be the bundle's strategy")] = None,
    *,
    allow_unsigned: Annotated[bool, typer.Option("--allow-unsigned", help="forgive a missing signature")] = False,
    json: AsJson = False,
) -> None:
    """Check a bundle as Execution does: signature, digests, code, golden answers in a process of its own."""
    with refusals(json=json):
        store = TrustStore.read(trust) if trust is not None else None
        expected = Expectation(strategy=strategy)
        loaded = run_async(_verify(uri, store, expected, allow_unsigned=allow_unsigned))
        show({"accepted": True, **_facts(loaded.manifest, loaded.files)}, json=json)


@app.command()
def inspect(
    uri: BundleUri,
    settings: SettingsFile = None,
    trust: Annotated[Path | None, typer.Option("--trust", help="say which signers these .pub files trust")] = None,
    *,
    with_files: Annotated[bool, typer.Option("--files", help="size and digest of every file")] = False,
    json: AsJson = False,
) -> None:
    """Show what a bundle says of itself and who signed it. Nothing but its digests is demanded, nothing of it runs."""
    with refusals(json=json):
        files = read_files(uri)
        manifest = decode_manifest(files[MANIFEST_NAME])
        check_contents(files, manifest)
        content = msgspec.to_builtins(manifest)
        answer = {**_facts(manifest, files), **(content if json else _summary(content))}
        signed_by = standings(files[MANIFEST_NAME], files.get(SIGNATURE_NAME), _trust(settings, trust))
        answer["signed_by"] = msgspec.to_builtins(signed_by)
        if with_files:
            answer["all_files"] = {
                name: {"size": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
                for name in sorted(files)
            }
        show(answer, json=json)


@app.command()
def publish(
    directory: Directory,
    settings: SettingsFile = None,
    registry: Annotated[
        str | None, typer.Option(help="the store: a directory or an address such as s3://bucket/bundles")
    ] = None,
    trust: Annotated[Path | None, typer.Option("--trust", help="refuse what these .pub files didn't sign")] = None,
    *,
    json: AsJson = False,
) -> None:
    """Put a bundle into the store and announce it with BundleReady, on the bus of the settings.

    Refused is what the agents would refuse: the settings name store and trusted keys, the options others.
    """
    with refusals(json=json):
        loaded = load(settings)
        files = read_files(str(directory))
        store = trust_of(loaded) if trust is None else TrustStore.read(trust)
        now = Expectation(now_ns=SystemClock().now_ns())
        manifest = verify_files(files, store, now, allow_unsigned=loaded.allow_unsigned)
        ready = BundleReady(
            bundle_id=bundle_id(manifest),
            strategy=manifest.strategy,
            uri=Registry(registry or loaded.registry).put(files),
            sha256=_digest(files),
            sequence=manifest.sequence,
            created=manifest.created,
        )
        offset = run_async(_announce(ready, loaded))
        show({**msgspec.to_builtins(ready), "offset": offset}, json=json)


async def _verify(uri: str, trust: TrustStore | None, expected: Expectation, *, allow_unsigned: bool) -> LoadedBundle:
    digest = _digest(await asyncio.to_thread(read_files, uri))
    verifier = Verifier()
    try:
        return await stage(
            uri, digest, trust=trust, verifier=verifier, expected=expected, allow_unsigned=allow_unsigned
        )
    finally:
        await verifier.stop()


async def _announce(ready: BundleReady, settings: Settings) -> int:
    bus = connect_to(settings, "tickpilot-bundle-publish")
    try:
        producer = await bus.producer()
        return await producer.publish("bundles", NewRecord(key=ready.bundle_id.encode(), value=encode(ready)))
    finally:
        await bus.stop()


def _trust(settings: Path | None, trust: Path | None) -> TrustStore | None:
    if trust is not None:
        return TrustStore.read(trust)
    configured = load(settings).trust if settings is not None else None
    return TrustStore.read(configured) if configured is not None else None


def _facts(manifest: Manifest, files: Any) -> dict[str, Any]:
    return {
        "bundle_id": bundle_id(manifest),
        "sha256": _digest(files),
        "strategy": manifest.strategy,
        "sequence": manifest.sequence,
    }


def _summary(content: dict[str, Any]) -> dict[str, Any]:
    shown = ("run_name", "instruments", "created", "expires", "algo", "obs_shape", "actions", "limits", "files")
    return {name: content.get(name) for name in shown}


def _digest(files: Any) -> str:
    return hashlib.sha256(files[MANIFEST_NAME]).hexdigest()
