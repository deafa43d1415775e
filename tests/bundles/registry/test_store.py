"""What every store of bundles has to do: on a disk, and on a real S3 server."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from bundles.errors import BundleRefused
from bundles.manifest import MANIFEST_NAME, POLICY_NAME, SIGNATURE_NAME
from bundles.registry import Registry, read_files
from bundles.registry.store import ObjectStore, open_filesystem, open_store
from messages import RejectCode
from tests.bundles.stores import BUCKET, Crashed, MortalStore, running_s3


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with running_s3() as uri:
        yield uri


@pytest.fixture(params=["file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    return (tmp_path / "store").as_uri()


def digest_of(files: dict[str, bytes]) -> str:
    return hashlib.sha256(files[MANIFEST_NAME]).hexdigest()


def code_of(caught: Any) -> RejectCode:
    code = caught.value.code
    assert isinstance(code, RejectCode)
    return code


def test_what_is_put_is_read(root: str, files: dict[str, bytes]) -> None:
    registry = Registry(root)
    assert registry.digests() == []
    uri = registry.put(files)
    assert uri == registry.uri_of(digest_of(files))
    assert registry.digests() == [digest_of(files)]
    assert read_files(uri) == files


def test_putting_again_replaces_the_signature_and_repairs(root: str, files: dict[str, bytes]) -> None:
    registry = Registry(root)
    registry.put(files)
    registry.store.write(f"{digest_of(files)}/{POLICY_NAME}", b"broken")
    uri = registry.put({**files, SIGNATURE_NAME: b"other"})
    assert read_files(uri) == {**files, SIGNATURE_NAME: b"other"}
    assert registry.digests() == [digest_of(files)]


def test_a_bundle_that_is_not_there_is_refused(root: str, files: dict[str, bytes]) -> None:
    registry = Registry(root)
    registry.put(files)
    with pytest.raises(BundleRefused) as caught:
        read_files(registry.uri_of("0" * 64))
    assert code_of(caught) in {RejectCode.UNREACHABLE, RejectCode.MISSING_FILE}
    assert not registry.has("0" * 64)


def test_the_limit_is_for_all_files_together(root: str, files: dict[str, bytes]) -> None:
    uri = Registry(root).put(files)
    size = sum(map(len, files.values()))
    assert read_files(uri, size) == files
    with pytest.raises(BundleRefused) as caught:
        read_files(uri, size - 1)
    assert code_of(caught) is RejectCode.TOO_LARGE


class WatchedStore(MortalStore):
    """Looks at the registry as another reader does, before and after each change."""

    def __init__(self, root: str, files: dict[str, bytes]) -> None:
        super().__init__(open_store(root))
        self._reader, self._files = Registry(root), files
        self.seen: list[bool] = []

    def _look(self) -> None:
        listed = self._reader.digests()
        if listed:
            assert read_files(self._reader.uri_of(listed[0])) == self._files
        self.seen.append(bool(listed))

    def write(self, name: str, content: bytes) -> None:
        self._look()
        super().write(name, content)
        self._look()

    def move(self, source: str, target: str) -> None:
        self._look()
        super().move(source, target)
        self._look()


def test_a_reader_during_a_put_sees_nothing_or_all(root: str, files: dict[str, bytes]) -> None:
    store = WatchedStore(root, files)
    Registry(root, store).put(files)
    assert store.seen == sorted(store.seen)
    assert (store.seen[0], store.seen[-1]) == (False, True)


def test_a_crash_at_any_change_of_a_first_put_leaves_what_was_there(root: str, files: dict[str, bytes]) -> None:
    other = {**files, MANIFEST_NAME: files[MANIFEST_NAME] + b" "}
    counted = MortalStore(open_store(f"{root}/counted"))
    Registry(f"{root}/counted", counted).put(files)
    published = []
    for n in range(counted.changes):
        place = f"{root}/{n}"
        Registry(place).put(other)
        died(place, files, MortalStore(open_store(place), dies_at=n))
        reader = Registry(place)
        published.append(reader.has(digest_of(files)))
        assert set(reader.digests()) == {digest_of(other)} | ({digest_of(files)} if published[-1] else set())
        assert read_files(reader.uri_of(digest_of(other))) == other
        assert read_files(reader.put(files)) == files
    # One change alone publishes, and none before all files are written.
    assert published == sorted(published)
    assert published.count(False) >= len(files)


def test_a_crash_after_any_change_of_a_second_put_leaves_the_old_or_the_new(root: str, files: dict[str, bytes]) -> None:
    old, new = {**files, SIGNATURE_NAME: b"old"}, {**files, SIGNATURE_NAME: b"new"}
    for n in range(8):
        Registry(root).put(old)
        store = MortalStore(open_store(root), dies_at=n, bytes_written=1, after=bool(n % 2))
        if not died(root, new, store, required=False):
            break
        assert Registry(root).digests() == [digest_of(files)]
        assert read_files(Registry(root).uri_of(digest_of(files))) in (old, new)
    else:
        pytest.fail("a put of one signature makes more changes than it needs")
    assert read_files(Registry(root).put(new)) == new


def test_a_crash_at_any_byte_of_a_put_leaves_what_was_there(tmp_path: Path) -> None:
    files = {MANIFEST_NAME: b"{}", POLICY_NAME: b"policy"}
    root = (tmp_path / "store").as_uri()
    sizes = sizes_written(f"{root}-count", files)
    for n, size in enumerate(sizes):
        for written in range(size + 1):
            died(root, files, MortalStore(open_store(root), dies_at=n, bytes_written=written))
            assert Registry(root).digests() == []
    assert read_files(Registry(root).put(files)) == files


def died(root: str, files: dict[str, bytes], store: MortalStore, *, required: bool = True) -> bool:
    try:
        Registry(root, store).put(files)
    except Crashed:
        return True
    assert not required
    return False


def sizes_written(root: str, files: dict[str, bytes]) -> list[int]:
    store = MortalStore(open_store(root))
    Registry(root, store).put(files)
    return store.sizes


def test_a_bucket_that_is_not_there_is_unreachable(s3: str, files: dict[str, bytes]) -> None:
    registry = Registry(f"{s3}-elsewhere/bundles")
    for attempt in (lambda: registry.put(files), registry.digests):
        with pytest.raises(BundleRefused) as caught:
            attempt()
        assert code_of(caught) is RejectCode.UNREACHABLE


def test_a_store_that_is_away_is_unreachable_at_once(s3: str, files: dict[str, bytes], free_port: int) -> None:
    assert s3
    store = away(free_port, timeout_s=1)
    registry = Registry(f"s3://{BUCKET}/away", store)
    for attempt in (lambda: registry.put(files), registry.digests):
        began = perf_counter()
        with pytest.raises(BundleRefused) as caught:
            attempt()
        assert code_of(caught) is RejectCode.UNREACHABLE
        assert perf_counter() - began < 20


def test_a_store_that_never_answers_is_unreachable_in_bounded_time(s3: str, files: dict[str, bytes]) -> None:
    assert s3
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        registry = Registry(f"s3://{BUCKET}/silent", away(port, timeout_s=0.3))
        began = perf_counter()
        with pytest.raises(BundleRefused) as caught:
            registry.put(files)
    assert code_of(caught) is RejectCode.UNREACHABLE
    assert perf_counter() - began < 20


def away(port: int, timeout_s: float) -> ObjectStore:
    import os
    from unittest.mock import patch

    import fsspec

    with patch.dict(os.environ, {"AWS_ENDPOINT_URL": f"http://localhost:{port}"}):
        fsspec.filesystem("s3").clear_instance_cache()
        filesystem, path = open_filesystem(f"s3://{BUCKET}/away", timeout_s)
        filesystem.connect()
        fsspec.filesystem("s3").clear_instance_cache()
    return ObjectStore(filesystem, path)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_without_its_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    # None in sys.modules is how Python itself says that a package can't be imported.
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(BundleRefused) as caught:
        Registry("s3://bucket/bundles")
    assert code_of(caught) is RejectCode.UNREACHABLE
    assert "tickpilot[s3]" in str(caught.value)


def test_two_writers_of_one_bundle_both_succeed(root: str, files: dict[str, bytes]) -> None:
    uris: list[str] = []
    threads = [threading.Thread(target=lambda: uris.append(Registry(root).put(files))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(uris) == 4
    assert read_files(uris[0]) == files
    assert Registry(root).digests() == [digest_of(files)]
