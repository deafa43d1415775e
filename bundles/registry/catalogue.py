"""What a registry holds, and for how long: list, history, pins and prune."""

from collections.abc import Collection, Iterable

import msgspec
from msgspec import Struct

from bundles.errors import BundleRefused
from bundles.manifest import MANIFEST_NAME, SIGNATURE_NAME, Manifest, bundle_id, decode_manifest
from bundles.registry.registry import FRESH_PREFIX, Registry, is_digest
from bundles.registry.store import remove_tree
from bundles.signing import Envelope, TrustStore, signers, verify
from messages import Clock
from messages.errors import Refused
from messages.status import RejectCode

PINS = "pins"
CLAIMED = "claimed"
TRUSTED = "trusted"


class NoSuchBundle(Refused):
    """Raised when the registry has no bundle of this digest, or several begin like it."""

    def __init__(self, digest: str, root_uri: str, found: int) -> None:
        said = "no bundle" if found == 0 else f"{found} bundles"
        super().__init__(f"{root_uri} has {said} with a digest {digest!r}; `tickpilot bundle list` names them")
        self.digest, self.found = digest, found


class Signer(Struct, frozen=True, kw_only=True):
    """Who signed: `claimed` when no trusted keys were given, else `trusted` or the reason why the signature is not."""

    key_id: str
    standing: str


class Pin(Struct, frozen=True, kw_only=True):
    """Why a bundle is kept. `ts` in ns UTC."""

    who: str
    why: str
    ts: int


class Entry(Struct, frozen=True, kw_only=True):
    """One bundle of the registry; times in ns UTC, `size` of all its files in bytes, `stored` by the store's clock.

    `problem`: why its metadata can't be read; then all that comes from there is empty.
    """

    digest: str
    size: int
    stored: int
    bundle_id: str = ""
    strategy: str = ""
    sequence: int = -1
    created: int = 0
    expires: int | None = None
    expired: bool = False
    signers: tuple[Signer, ...] = ()
    pinned: Pin | None = None
    problem: str | None = None


class PrunePlan(Struct, frozen=True, kw_only=True):
    """What prune removes: bundles, oldest first, and what crashed puts left. `kept`: the reason by digest."""

    remove: tuple[Entry, ...]
    leftovers: tuple[str, ...]
    kept: dict[str, str]


class Catalogue:
    """A registry's contents as people ask for them. Every method raises BundleRefused UNREACHABLE."""

    def __init__(self, registry: Registry, clock: Clock, trust: TrustStore | None = None) -> None:
        self._registry, self._clock, self._trust = registry, clock, trust

    def list(self) -> tuple[Entry, ...]:
        """Return all bundles, by strategy, sequence and time of creation; broken ones first, with their `problem`."""
        pinned = self._pinned()
        entries = [self._entry(digest, pinned) for digest in self._registry.digests()]
        return tuple(sorted(entries, key=lambda entry: (entry.strategy, entry.sequence, entry.created, entry.digest)))

    def history(self, strategy: str) -> tuple[Entry, ...]:
        """Return a strategy's bundles in order of sequence."""
        return tuple(entry for entry in self.list() if entry.strategy == strategy and entry.problem is None)

    def find(self, digest: str) -> str:
        """Return the whole digest of which `digest` is the beginning. Raises NoSuchBundle."""
        found = [known for known in self._registry.digests() if digest and known.startswith(digest)]
        if len(found) != 1:
            raise NoSuchBundle(digest, self._registry.root_uri, len(found))
        return found[0]

    def pin(self, digest: str, *, who: str, why: str) -> Pin:
        """Keep a bundle from prune until `unpin`, and return what was recorded. Raises NoSuchBundle."""
        pin = Pin(who=who, why=why, ts=self._clock.now_ns())
        if not self._registry.has(digest):
            raise NoSuchBundle(digest, self._registry.root_uri, 0)
        store = self._registry.store
        with self._registry.reaching("written"):
            store.write(_pin_name(digest), msgspec.json.encode(pin))
        if not self._registry.has(digest):  # a prune was quicker
            self.unpin(digest)
            raise NoSuchBundle(digest, self._registry.root_uri, 0)
        return pin

    def unpin(self, digest: str) -> bool:
        """Give a bundle free again; whether it was pinned."""
        with self._registry.reaching("written"):
            was = digest in self._pinned()
            self._registry.store.remove(_pin_name(digest))
        return was

    def plan(self, *, keep: int, younger_than_ns: int, live: Collection[str]) -> PrunePlan:
        """Return what prune may remove: see `choose`."""
        before = self._clock.now_ns() - younger_than_ns
        remove, kept = choose(self.list(), keep=keep, stored_before=before, live=live)
        return PrunePlan(remove=remove, leftovers=self._leftovers(before), kept=kept)

    def prune(self, plan: PrunePlan) -> PrunePlan:
        """Remove what the plan names and return what was removed; what was pinned since then stays.

        A bundle is gone for every reader with the first step; a crash leaves leftovers, which the next prune finds.
        """
        removed, kept = [], dict(plan.kept)
        with self._registry.reaching("written"):
            for entry in plan.remove:
                if entry.digest in self._pinned():
                    kept[entry.digest] = "pinned"
                    continue
                self._remove(entry.digest)
                removed.append(entry)
            for name in plan.leftovers:
                remove_tree(self._registry.store, name)
        return PrunePlan(remove=tuple(removed), leftovers=plan.leftovers, kept=kept)

    def _remove(self, digest: str) -> None:
        self._registry.store.remove(f"{digest}/{MANIFEST_NAME}")
        remove_tree(self._registry.store, digest)

    def _pinned(self) -> set[str]:
        # The name is the pin: one whose record can't be read protects all the same.
        with self._registry.reaching("listed"):
            return {name.removesuffix(".json") for name in self._registry.store.names(PINS)}

    def _leftovers(self, before: int) -> tuple[str, ...]:
        store = self._registry.store
        with self._registry.reaching("listed"):
            names = [name for name in store.names("") if name.startswith(FRESH_PREFIX) or is_digest(name)]
            unfinished = [
                name for name in names if name.startswith(FRESH_PREFIX) or MANIFEST_NAME not in store.names(name)
            ]
            # A put may be on its way: only what is old enough was left by a crash.
            return tuple(name for name in unfinished if store.modified_ns(name) < before)

    def _entry(self, digest: str, pinned: Collection[str]) -> Entry:
        store = self._registry.store
        with self._registry.reaching("listed"):
            size, stored = store.size(digest), store.modified_ns(f"{digest}/{MANIFEST_NAME}")
            manifest_bytes = store.read(f"{digest}/{MANIFEST_NAME}")
            signed = SIGNATURE_NAME in store.names(digest)
            envelope = store.read(f"{digest}/{SIGNATURE_NAME}") if signed else None
            pin = _decode_pin(store.read(_pin_name(digest))) if digest in pinned else None
        try:
            manifest = decode_manifest(manifest_bytes)
            who = standings(manifest_bytes, envelope, self._trust)
        except BundleRefused as refusal:
            return Entry(digest=digest, size=size, stored=stored, pinned=pin, problem=str(refusal))
        return _entry(manifest, digest, size, stored, who, pin, self._clock.now_ns())


def choose(
    entries: Iterable[Entry], *, keep: int, stored_before: int, live: Collection[str]
) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """Return the entries that may go, and of the others the reason why they stay, by digest.

    What stays: what is pinned, `live`, created or stored at `stored_before` or later, among the newest `keep` of its
    strategy, and what can't be read (whose it is is not known).
    """
    newest: set[str] = set()
    listed = sorted(entries, key=lambda entry: (entry.sequence, entry.created, entry.digest))
    for strategy in {entry.strategy for entry in listed}:
        of_strategy = [entry.digest for entry in listed if entry.strategy == strategy]
        newest.update(of_strategy[len(of_strategy) - min(keep, len(of_strategy)) :])
    remove, kept = [], dict[str, str]()
    for entry in listed:
        if entry.pinned is not None:
            kept[entry.digest] = "pinned"
        elif entry.digest in live:
            kept[entry.digest] = "live"
        elif entry.problem is not None:
            kept[entry.digest] = "unreadable"
        elif max(entry.stored, entry.created) >= stored_before:
            kept[entry.digest] = "young"
        elif entry.digest in newest:
            kept[entry.digest] = "newest"
        else:
            remove.append(entry)
    return tuple(remove), kept


def standings(manifest_bytes: bytes, envelope: bytes | None, trust: TrustStore | None) -> tuple[Signer, ...]:
    """Return who signed these bytes and what each signature is worth. Raises BundleRefused BAD_SIGNATURE."""
    named = signers(envelope)
    if envelope is None or trust is None:
        return tuple(Signer(key_id=key_id, standing=CLAIMED) for key_id in named)
    whole = msgspec.json.decode(envelope, type=Envelope)
    found = []
    for signature in whole.signatures:
        alone = msgspec.json.encode(msgspec.structs.replace(whole, signatures=(signature,)))
        try:
            verify(manifest_bytes, alone, trust)
            standing = TRUSTED
        except BundleRefused as refusal:
            standing = str(RejectCode(refusal.code))
        found.append(Signer(key_id=signature.keyid, standing=standing))
    return tuple(found)


def _entry(
    manifest: Manifest, digest: str, size: int, stored: int, who: tuple[Signer, ...], pin: Pin | None, now_ns: int
) -> Entry:
    return Entry(
        digest=digest,
        size=size,
        stored=stored,
        bundle_id=bundle_id(manifest),
        strategy=manifest.strategy,
        sequence=manifest.sequence,
        created=manifest.created,
        expires=manifest.expires,
        expired=manifest.expires is not None and now_ns >= manifest.expires,
        signers=who,
        pinned=pin,
    )


def _pin_name(digest: str) -> str:
    return f"{PINS}/{digest}.json"


def _decode_pin(content: bytes) -> Pin:
    try:
        return msgspec.json.decode(content, type=Pin)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return Pin(who="?", why="the record of the pin can't be read", ts=0)
