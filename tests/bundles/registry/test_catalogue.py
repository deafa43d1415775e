from pathlib import Path
from typing import Any

import pytest

from bundles.errors import BundleRefused
from bundles.manifest import MANIFEST_NAME
from bundles.registry import Registry
from bundles.registry.catalogue import Catalogue, NoSuchBundle
from bundles.registry.live import LiveUnknown, live_digests
from bundles.registry.store import open_store
from bundles.signing import SigningKey, TrustStore
from messages import Activate, Rollout, Shadow, VirtualClock
from messages.control import ControlMessage, LogStarted
from tests.bundles.samples import CREATED, resigned
from tests.bundles.stores import Crashed, MortalStore

LATER = 4_000_000_000_000_000_000
DAY_NS = 86_400 * 10**9


@pytest.fixture
def root(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


def put(root: str, files: dict[str, bytes], key: SigningKey, **changes: Any) -> str:
    return Registry(root).put(resigned(files, key, **changes)).rsplit("/", 1)[-1]


def catalogue(root: str, trust: TrustStore | None = None, now_ns: int = LATER) -> Catalogue:
    return Catalogue(Registry(root), VirtualClock(now_ns), trust)


def test_list_says_what_each_bundle_is(root: str, files: dict[str, bytes], key: SigningKey) -> None:
    digest = put(root, files, key, expires=LATER)
    (entry,) = catalogue(root, TrustStore.of([key])).list()
    assert (entry.digest, entry.strategy, entry.sequence, entry.created) == (digest, "momentum", 7, CREATED)
    assert entry.size == sum(path.stat().st_size for path in Path(root.removeprefix("file://"), digest).iterdir())
    assert [(signer.key_id, signer.standing) for signer in entry.signers] == [(key.key_id, "trusted")]
    assert entry.expired
    assert not catalogue(root, now_ns=LATER - 1).list()[0].expired
    assert catalogue(root).list()[0].signers[0].standing == "claimed"
    revoked = TrustStore.of([key], revoked=[key.key_id])
    assert catalogue(root, revoked).list()[0].signers[0].standing == "revoked-key"


def test_history_is_in_order_of_sequence(root: str, files: dict[str, bytes], key: SigningKey) -> None:
    for sequence in (3, 1, 2):
        put(root, files, key, sequence=sequence)
    put(root, files, key, strategy="other", sequence=9)
    assert [entry.sequence for entry in catalogue(root).history("momentum")] == [1, 2, 3]


def test_a_broken_bundle_is_listed_with_its_problem_and_kept(root: str, files: dict[str, bytes]) -> None:
    digest = Registry(root).put({**files, MANIFEST_NAME: b"{}"}).rsplit("/", 1)[-1]
    (entry,) = catalogue(root).list()
    assert entry.problem is not None
    assert catalogue(root).plan(keep=1, younger_than_ns=0, live=()).kept == {digest: "unreadable"}


def test_prune_keeps_the_newest_the_pinned_the_live_and_the_young(
    root: str, files: dict[str, bytes], key: SigningKey
) -> None:
    digests = [put(root, files, key, sequence=n) for n in range(5)]
    young = put(root, files, key, sequence=0, created=LATER - 1)
    store = catalogue(root)
    pin = store.pin(digests[0], who="ann", why="the baseline")
    assert (pin.who, pin.why, pin.ts) == ("ann", "the baseline", LATER)
    plan = store.plan(keep=1, younger_than_ns=DAY_NS, live={digests[1]})
    assert [entry.digest for entry in plan.remove] == digests[2:4]
    assert plan.kept == {digests[0]: "pinned", digests[1]: "live", digests[4]: "newest", young: "young"}
    assert len(Registry(root).digests()) == 6
    store.prune(plan)
    assert Registry(root).digests() == sorted({*digests, young} - set(digests[2:4]))
    assert store.unpin(digests[0])
    assert not store.unpin(digests[0])
    assert store.plan(keep=1, younger_than_ns=0, live=()).remove[0].digest == digests[0]


def test_what_is_pinned_after_the_plan_stays(root: str, files: dict[str, bytes], key: SigningKey) -> None:
    digests = [put(root, files, key, sequence=n) for n in range(2)]
    store = catalogue(root)
    plan = store.plan(keep=1, younger_than_ns=0, live=())
    store.pin(digests[0], who="ann", why="wait")
    assert store.prune(plan).remove == ()
    assert Registry(root).digests() == sorted(digests)


def test_leftovers_of_crashed_puts_and_prunes_are_removed_when_old(
    root: str, files: dict[str, bytes], key: SigningKey
) -> None:
    kept = put(root, files, key, sequence=8)
    with pytest.raises(Crashed):
        Registry(root, MortalStore(open_store(root), dies_at=2)).put(files)
    assert catalogue(root).plan(keep=1, younger_than_ns=5 * 10**18, live=()).leftovers == ()
    plan = catalogue(root).plan(keep=1, younger_than_ns=0, live=())
    assert len(plan.leftovers) == 1
    catalogue(root).prune(plan)
    assert [path.name for path in Path(root.removeprefix("file://")).iterdir()] == [kept]


def test_a_crash_at_any_change_of_a_prune_is_finished_by_the_next(
    root: str, files: dict[str, bytes], key: SigningKey
) -> None:
    kept = put(root, files, key, sequence=8)
    for n in range(len(files) + 1):
        put(root, files, key, sequence=1)
        plan = catalogue(root).plan(keep=1, younger_than_ns=0, live=())
        mortal = Registry(root, MortalStore(open_store(root), dies_at=n))
        with pytest.raises(Crashed):
            Catalogue(mortal, VirtualClock(LATER)).prune(plan)
        assert set(Registry(root).digests()) - {kept} == ({plan.remove[0].digest} if n == 0 else set())
        store = catalogue(root)
        store.prune(store.plan(keep=1, younger_than_ns=0, live=()))
        assert [path.name for path in Path(root.removeprefix("file://")).iterdir()] == [kept]


def test_a_pin_whose_record_is_broken_still_counts(root: str, files: dict[str, bytes], key: SigningKey) -> None:
    digest = put(root, files, key)
    Registry(root).store.write(f"pins/{digest}.json", b"{")
    (entry,) = catalogue(root).list()
    assert entry.pinned is not None


def test_only_what_is_there_is_pinned(root: str) -> None:
    for attempt in (lambda: catalogue(root).pin("0" * 64, who="a", why="b"), lambda: catalogue(root).find("")):
        with pytest.raises(NoSuchBundle, match="bundle list"):
            attempt()


def test_a_store_that_cannot_be_read_prunes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleRefused, match="unreachable"):
        catalogue((tmp_path / "file").as_uri()).plan(keep=1, younger_than_ns=0, live=())


def test_live_is_what_trades_what_traded_before_and_what_is_rolled_out_and_what_shadows() -> None:
    started = LogStarted(log_id="a" * 32)

    def activate(digit: str, expects: int) -> Activate:
        return Activate(
            strategy="s", instrument="A", bundle_id="b", sha256=digit * 64, expects=expects, ts=0, who="ann"
        )

    rollout = Rollout(strategy="s", bundle_id="b", uri="file:///x", sha256="f" * 64, expects=-1, ts=0, who="ann")
    shadow = Shadow(
        strategy="s", instrument="A", bundle_id="b", uri="file:///x", sha256="e" * 64, expects=-1, ts=0, who="ann"
    )
    records: list[tuple[int, ControlMessage]] = [
        (0, started),
        (1, activate("1", -1)),
        (2, activate("2", 1)),
        (3, activate("3", 2)),
        (4, rollout),
        (5, shadow),
    ]
    void: tuple[int, ControlMessage] = (6, activate("9", 1))
    assert live_digests([*records, void]) == {"2" * 64, "3" * 64, "e" * 64, "f" * 64}
    with pytest.raises(LiveUnknown, match="no beginning"):
        live_digests(records[1:])
