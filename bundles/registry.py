"""Where bundles are kept: a directory for each digest, on any store that fsspec reaches."""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundles.errors import BundleRefused
from bundles.manifest import ALLOWED_FILES, MANIFEST_NAME
from messages.status import RejectCode

MAX_BUNDLE_BYTES = 256 * 2**20
ALLOWED_PROTOCOLS = frozenset({"file", "memory", "s3", "gs", "gcs", "abfs", "abfss", "az"})
_TRANSPORT_ERRORS = (OSError, ValueError, ImportError, RuntimeError)


class Registry:
    """A content-addressed store of bundles under one root URI."""

    def __init__(self, root_uri: str) -> None:
        self._root_uri = root_uri.rstrip("/")
        self._filesystem, self._root = _open(self._root_uri)

    def put(self, files: Mapping[str, bytes]) -> str:
        """Store the files of one bundle and return its URI, ROOT/sha256-of-metadata.json.

        A reader sees all of it or nothing. Putting it again replaces what differs (a new signature or proof).
        Raises BundleRefused: MISSING_FILE, BAD_NAME, UNREACHABLE when the store can't be written.
        """
        if MANIFEST_NAME not in files:
            raise BundleRefused(RejectCode.MISSING_FILE, f"there is no {MANIFEST_NAME}")
        for name in files:
            _check_name(name)
        digest = hashlib.sha256(files[MANIFEST_NAME]).hexdigest()
        try:
            if _is_local(self._filesystem):
                _put_local(Path(self._root), digest, files)
            else:
                self._put_remote(digest, files)
        except _TRANSPORT_ERRORS as error:
            raise BundleRefused(RejectCode.UNREACHABLE, f"{self._root_uri} can't be written ({error})") from error
        return self.uri_of(digest)

    def uri_of(self, digest: str) -> str:
        """Return the URI of the bundle with this digest, there or not."""
        root = Path(self._root).resolve().as_uri() if _is_local(self._filesystem) else self._root_uri
        return f"{root}/{digest}"

    def digests(self) -> list[str]:
        """Return the digests of all bundles that are wholly there, sorted. Raises BundleRefused UNREACHABLE."""
        try:
            self._filesystem.invalidate_cache()
            if not self._filesystem.isdir(self._root):
                return []
            names = [str(path).rstrip("/").rsplit("/", 1)[-1] for path in self._filesystem.ls(self._root, detail=False)]
            candidates = [name for name in names if len(name) == 64 and not name.startswith(".")]
            return sorted(
                name for name in candidates if self._filesystem.exists(f"{self._root}/{name}/{MANIFEST_NAME}")
            )
        except _TRANSPORT_ERRORS as error:
            raise BundleRefused(RejectCode.UNREACHABLE, f"{self._root_uri} can't be listed ({error})") from error

    def _put_remote(self, digest: str, files: Mapping[str, bytes]) -> None:
        # No rename on object stores: a bundle without metadata.json does not exist for any reader.
        directory = f"{self._root}/{digest}"
        self._filesystem.makedirs(directory, exist_ok=True)
        for name in sorted(files, key=lambda name: (name == MANIFEST_NAME, name)):
            self._filesystem.pipe_file(f"{directory}/{name}", files[name])


def read_files(uri: str, max_bytes: int = MAX_BUNDLE_BYTES) -> dict[str, bytes]:
    """Read every file of the bundle at `uri` (a directory) once into memory.

    Raises BundleRefused: UNREACHABLE, BAD_NAME for links, directories, devices and names that no bundle has,
    UNLISTED_FILE for more files than a bundle can have, TOO_LARGE (by the announced size, before reading),
    MISSING_FILE without metadata.json. What is signed or listed is not judged here.
    """
    try:
        filesystem, directory = _open(uri)
        files = (
            _read_local(Path(directory), max_bytes)
            if _is_local(filesystem)
            else _read_remote(filesystem, directory, max_bytes)
        )
    except _TRANSPORT_ERRORS as error:
        raise BundleRefused(RejectCode.UNREACHABLE, f"{uri} can't be read ({error})") from error
    if MANIFEST_NAME not in files:
        raise BundleRefused(RejectCode.MISSING_FILE, f"{uri} has no {MANIFEST_NAME}")
    return files


def _open(uri: str) -> tuple[Any, str]:
    import fsspec

    # Chained addresses (a::b) and protocols like ssh or github would let a message choose what this process contacts.
    protocol = uri.partition("://")[0] if "://" in uri else "file"
    if "::" in uri or protocol not in ALLOWED_PROTOCOLS:
        raise BundleRefused(
            RejectCode.UNREACHABLE, f"{uri!r} is not at one of {', '.join(sorted(ALLOWED_PROTOCOLS))}", uri=uri
        )
    filesystem, path = fsspec.core.url_to_fs(uri)
    return filesystem, str(path)


def _is_local(filesystem: Any) -> bool:
    return "file" in (filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,))


def _check_name(name: str) -> None:
    if name not in ALLOWED_FILES:
        raise BundleRefused(RejectCode.BAD_NAME, f"{name!r} is no file of a bundle")


def _check_room(name: str, size: int, left: int) -> None:
    if size > left:
        raise BundleRefused(RejectCode.TOO_LARGE, f"{name} has {size} bytes, {left} are left of the limit", name=name)


def _read_local(directory: Path, max_bytes: int) -> dict[str, bytes]:
    names = []
    with os.scandir(directory) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > 2 * len(ALLOWED_FILES):
                raise BundleRefused(RejectCode.UNLISTED_FILE, f"{directory} holds more files than a bundle can have")
    files: dict[str, bytes] = {}
    for name in sorted(names):
        _check_name(name)
        files[name] = _read_plain(directory / name, max_bytes - sum(map(len, files.values())))
    return files


def _read_plain(path: Path, left: int) -> bytes:
    if path.is_symlink():
        raise BundleRefused(RejectCode.BAD_NAME, f"{path.name} is a link, not a file")
    # The flags close the gap between the look above and the opening, and never wait for a pipe.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BundleRefused(RejectCode.BAD_NAME, f"{path.name} is no plain file")
        _check_room(path.name, status.st_size, left)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(status.st_size + 1)
    finally:
        os.close(descriptor)
    if len(content) != status.st_size:
        raise BundleRefused(RejectCode.DIGEST_MISMATCH, f"{path.name} changed while it was read")
    return content


def _read_remote(filesystem: Any, directory: str, max_bytes: int) -> dict[str, bytes]:
    filesystem.invalidate_cache()
    entries = [
        entry for entry in filesystem.ls(directory, detail=True) if entry["name"].strip("/") != directory.strip("/")
    ]
    if len(entries) > 2 * len(ALLOWED_FILES):
        raise BundleRefused(RejectCode.UNLISTED_FILE, f"{directory} holds more files than a bundle can have")
    files: dict[str, bytes] = {}
    for entry in sorted(entries, key=lambda entry: str(entry["name"])):
        name = str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]
        _check_name(name)
        if entry["type"] != "file":
            raise BundleRefused(RejectCode.BAD_NAME, f"{name} is a {entry['type']}, not a file")
        left = max_bytes - sum(map(len, files.values()))
        _check_room(name, int(entry["size"]), left)
        with filesystem.open(entry["name"], "rb") as file:
            files[name] = file.read(left + 1)
        _check_room(name, len(files[name]), left)
    return files


def _put_local(root: Path, digest: str, files: Mapping[str, bytes]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    target = root / digest
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    try:
        for name, content in files.items():
            _write_synced(fresh / name, content)
        fresh.chmod(0o755)
        if not target.exists():
            try:
                fresh.rename(target)
            except OSError:
                # Another writer of the same content was quicker.
                if not target.is_dir():
                    raise
        if fresh.exists():
            _replace_different(fresh, target, files)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _replace_different(fresh: Path, target: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        existing = target / name
        if existing.is_symlink() or not existing.is_file() or existing.read_bytes() != content:
            (fresh / name).replace(existing)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
