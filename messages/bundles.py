"""Topic `bundles`: a signed policy is ready. Key = bundle id. Written by the trainer and by users."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from messages.fields import Digest, Name, Nanoseconds, Sequence


class BundleReady(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A bundle waits to be rolled out. Written by trainer and users; read by orchestrator, console.

    `uri` is where the files are (a directory; file:// or any fsspec URI), `sha256` the digest of metadata.json's exact
    bytes, `sequence` must be higher than any accepted before for the strategy, `created` in ns.
    """

    bundle_id: Name
    strategy: Name
    uri: Annotated[str, Meta(min_length=1, max_length=2048)]
    sha256: Digest
    sequence: Sequence
    created: Nanoseconds
    plan: Literal["immediate"] = "immediate"
