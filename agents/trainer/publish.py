"""From a finished bundle on disk to a BundleReady on the bus."""

import asyncio
from pathlib import Path

from agents.lifecycle.status import publish_at_last
from agents.trainer.config import WorkerDone, WorkerRequest
from bundles.registry import Registry, read_files
from messages import BundleReady, Clock, NewRecord, Producer, encode


async def store(bundle: Path, registry_uri: str | None) -> str:
    """Put the bundle into the registry, off the event loop, and return its URI; without one, its directory's URI.

    Raises BundleRefused when it can't be read or stored.
    """
    return await asyncio.to_thread(_store, bundle, registry_uri)


def _store(bundle: Path, registry_uri: str | None) -> str:
    if registry_uri is None:
        return bundle.resolve().as_uri()
    return Registry(registry_uri).put(read_files(str(bundle)))


async def announce(producer: Producer, clock: Clock, request: WorkerRequest, done: WorkerDone, uri: str) -> BundleReady:
    """Publish and return the BundleReady of a finished run, however long the bus is away."""
    ready = BundleReady(
        bundle_id=done.bundle_id,
        strategy=request.strategy,
        uri=uri,
        sha256=done.sha256,
        sequence=request.sequence,
        created=request.created,
    )
    record = NewRecord(key=ready.bundle_id.encode(), value=encode(ready))
    await publish_at_last(producer, clock, "bundles", record)
    return ready
