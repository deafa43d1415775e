import hashlib
import os
from pathlib import Path

import pytest

from bundles.errors import BundleRefused
from bundles.manifest import GOLDEN_NAME, MANIFEST_NAME, POLICY_NAME, SIGNATURE_NAME
from bundles.registry import Registry, read_files
from messages import RejectCode
from tests.bundles.samples import write_all


@pytest.fixture(params=["directory", "file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kinds = {"directory": str(tmp_path / "store"), "file": (tmp_path / "store").as_uri()}
    return kinds.get(request.param, f"memory://{tmp_path.name}/store")


def refusal(uri: str | Path, max_bytes: int = 2**20) -> RejectCode:
    with pytest.raises(BundleRefused) as caught:
        read_files(str(uri), max_bytes)
    return caught.value.code


def test_what_is_put_is_read(root: str, files: dict[str, bytes]) -> None:
    registry = Registry(root)
    assert registry.digests() == []
    uri = registry.put(files)
    digest = hashlib.sha256(files[MANIFEST_NAME]).hexdigest()
    assert uri.endswith(f"/{digest}")
    assert uri == registry.uri_of(digest)
    assert read_files(uri) == files
    assert registry.digests() == [digest]


def test_putting_again_replaces_the_signature(root: str, files: dict[str, bytes]) -> None:
    registry = Registry(root)
    registry.put(files)
    uri = registry.put({**files, SIGNATURE_NAME: b"other"})
    assert read_files(uri) == {**files, SIGNATURE_NAME: b"other"}


def test_putting_again_repairs(tmp_path: Path, files: dict[str, bytes]) -> None:
    registry = Registry(str(tmp_path / "store"))
    registry.put(files)
    digest = registry.digests()[0]
    (tmp_path / "store" / digest / POLICY_NAME).write_bytes(b"broken")
    assert read_files(registry.put(files)) == files


def test_nothing_is_left_beside_the_bundle(tmp_path: Path, files: dict[str, bytes]) -> None:
    registry = Registry(str(tmp_path))
    registry.put(files)
    registry.put(files)
    assert [path.name for path in tmp_path.iterdir()] == registry.digests()


def test_a_store_that_cannot_be_written_is_unreachable(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleRefused) as caught:
        Registry(str(tmp_path / "file")).put(files)
    assert caught.value.code is RejectCode.UNREACHABLE


@pytest.mark.parametrize(("name", "code"), [("../x", RejectCode.BAD_NAME), ("", RejectCode.BAD_NAME)])
def test_only_files_of_a_bundle_are_put(tmp_path: Path, files: dict[str, bytes], name: str, code: RejectCode) -> None:
    with pytest.raises(BundleRefused) as caught:
        Registry(str(tmp_path)).put({**files, name: b""})
    assert caught.value.code is code


def test_a_bundle_without_metadata_is_not_put(root: str) -> None:
    with pytest.raises(BundleRefused) as caught:
        Registry(root).put({POLICY_NAME: b""})
    assert caught.value.code is RejectCode.MISSING_FILE


@pytest.mark.parametrize(
    "uri",
    [
        "/nowhere/at/all",
        "file:///nowhere/at/all",
        "memory://nowhere",
        "ssh://host/x",
        "github://a:b@/",
        "http://localhost:1/x",
        "simplecache::file:///tmp",
        "",
    ],
)
def test_what_cannot_be_reached_is_unreachable_or_empty(uri: str) -> None:
    assert refusal(uri or "/nowhere") is RejectCode.UNREACHABLE


def test_a_directory_without_metadata_misses_a_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) is RejectCode.MISSING_FILE


@pytest.mark.parametrize("name", ["x.py", ".hidden", "policy.pt.bak", "ümlaut"])
def test_odd_names_are_refused(tmp_path: Path, files: dict[str, bytes], name: str) -> None:
    write_all(tmp_path, {**files, name: b""})
    assert refusal(tmp_path) is RejectCode.BAD_NAME


def test_odd_names_are_refused_in_memory(files: dict[str, bytes], tmp_path: Path) -> None:
    import fsspec

    uri = Registry(f"memory://{tmp_path.name}/odd").put(files)
    fsspec.filesystem("memory").pipe_file(f"{uri.removeprefix('memory://')}/x.py", b"")
    assert refusal(uri) is RejectCode.BAD_NAME


def test_a_crowd_of_files_is_refused_early(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert refusal(tmp_path) is RejectCode.UNLISTED_FILE


def test_a_link_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    write_all(tmp_path / "bundle", files)
    (tmp_path / "elsewhere").write_bytes(files[POLICY_NAME])
    (tmp_path / "bundle" / POLICY_NAME).unlink()
    (tmp_path / "bundle" / POLICY_NAME).symlink_to(tmp_path / "elsewhere")
    assert refusal(tmp_path / "bundle") is RejectCode.BAD_NAME


def test_a_pipe_is_refused_without_waiting(tmp_path: Path, files: dict[str, bytes]) -> None:
    write_all(tmp_path, files)
    (tmp_path / GOLDEN_NAME).unlink()
    os.mkfifo(tmp_path / GOLDEN_NAME)
    assert refusal(tmp_path) is RejectCode.BAD_NAME


def test_a_directory_in_place_of_a_file_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    write_all(tmp_path, files)
    (tmp_path / POLICY_NAME).unlink()
    (tmp_path / POLICY_NAME).mkdir()
    assert refusal(tmp_path) is RejectCode.BAD_NAME


def test_a_huge_sparse_file_is_refused_unread(tmp_path: Path, files: dict[str, bytes]) -> None:
    write_all(tmp_path, files)
    os.truncate(tmp_path / POLICY_NAME, 2**40)
    assert refusal(tmp_path) is RejectCode.TOO_LARGE


def test_the_limit_is_for_all_files_together(root: str, files: dict[str, bytes]) -> None:
    uri = Registry(root).put(files)
    size = sum(map(len, files.values()))
    assert read_files(uri, size) == files
    assert refusal(uri, size - 1) is RejectCode.TOO_LARGE
