"""Where bundles are kept: a directory for each digest, on any store that fsspec reaches.

```
ROOT/DIGEST/metadata.json ...   a bundle; without metadata.json it does not exist for any reader
ROOT/.new-TOKEN/                a put on its way, or what a crashed one left: prune removes it
ROOT/pins/DIGEST.json           who pinned it, when and why
```
"""

import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bundles.errors import BundleRefused
from bundles.manifest import ALLOWED_FILES, MANIFEST_NAME
from bundles.registry.store import (
    TIMEOUT_S,
    Store,
    is_local,
    open_filesystem,
    open_store,
    reaching,
    remove_tree,
)
from messages.status import RejectCode

MAX_BUNDLE_BYTES = 256 * 2**20
FRESH_PREFIX = ".new-"


class Registry:
    """A content-addressed store of bundles under one root URI.

    `store` is what lies below; by default what `root_uri` says, with waits of at most `timeout_s` each.
    """

    def __init__(self, root_uri: str, store: Store | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.root_uri = root_uri.rstrip("/")
        self._base_uri = _base_uri(self.root_uri)
        self.store: Store = store if store is not None else open_store(self.root_uri, timeout_s)

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
        with self.reaching("written"):
            if self.store.moves_directories:
                _put_by_moving(self.store, digest, files)
            else:
                _put_manifest_last(self.store, digest, files)
        return self.uri_of(digest)

    def uri_of(self, digest: str) -> str:
        """Return the URI of the bundle with this digest, there or not."""
        return f"{self._base_uri}/{digest}"

    def has(self, digest: str) -> bool:
        """Whether the bundle is wholly there. Raises BundleRefused UNREACHABLE."""
        with self.reaching("listed"):
            return is_digest(digest) and MANIFEST_NAME in self.store.names(digest)

    def digests(self) -> list[str]:
        """Return the digests of all bundles that are wholly there, sorted. Raises BundleRefused UNREACHABLE."""
        with self.reaching("listed"):
            candidates = [name for name in self.store.names("") if is_digest(name)]
            return [name for name in candidates if MANIFEST_NAME in self.store.names(name)]

    def reaching(self, what: str) -> AbstractContextManager[None]:
        """Turn errors of the store's transport into BundleRefused UNREACHABLE."""
        return reaching(self.root_uri, what)


def read_files(uri: str, max_bytes: int = MAX_BUNDLE_BYTES) -> dict[str, bytes]:
    """Read every file of the bundle at `uri` (a directory) once into memory.

    Raises BundleRefused: UNREACHABLE, BAD_NAME for links, directories, devices and names that no bundle has,
    UNLISTED_FILE for more files than a bundle can have, TOO_LARGE (by the announced size, before reading),
    MISSING_FILE without metadata.json. What is signed or listed is not judged here.
    """
    with reaching(uri, "read"):
        filesystem, directory = open_filesystem(uri)
        files = (
            _read_local(Path(directory), max_bytes)
            if is_local(filesystem)
            else _read_remote(filesystem, directory, max_bytes)
        )
    if MANIFEST_NAME not in files:
        raise BundleRefused(RejectCode.MISSING_FILE, f"{uri} has no {MANIFEST_NAME}")
    return files


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


def is_digest(name: str) -> bool:
    """Whether it is the name of a bundle's directory."""
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


def _base_uri(root_uri: str) -> str:
    filesystem, path = open_filesystem(root_uri)
    return Path(path).resolve().as_uri() if is_local(filesystem) else root_uri


def _put_by_moving(store: Store, digest: str, files: Mapping[str, bytes]) -> None:
    fresh = f"{FRESH_PREFIX}{secrets.token_hex(8)}"
    try:
        if store.names(digest):
            # A repair, or a new signature: each file is replaced in one step, and each state between is a bundle too.
            for name in _manifest_last(files):
                if _differs(store, f"{digest}/{name}", files[name]):
                    store.write(f"{fresh}/{name}", files[name])
                    store.move(f"{fresh}/{name}", f"{digest}/{name}")
            return
        for name in files:
            store.write(f"{fresh}/{name}", files[name])
        try:
            store.move(fresh, digest)
        except OSError:
            # Another writer of the same content was quicker.
            if MANIFEST_NAME not in store.names(digest):
                raise
    finally:
        remove_tree(store, fresh)


def _put_manifest_last(store: Store, digest: str, files: Mapping[str, bytes]) -> None:
    # No rename on object stores: a bundle without metadata.json does not exist for any reader.
    there = set(store.names(digest))
    for name in _manifest_last(files):
        if name not in there or _differs(store, f"{digest}/{name}", files[name]):
            store.write(f"{digest}/{name}", files[name])


def _manifest_last(files: Mapping[str, bytes]) -> list[str]:
    return sorted(files, key=lambda name: (name == MANIFEST_NAME, name))


def _differs(store: Store, name: str, content: bytes) -> bool:
    try:
        return store.read(name) != content
    except OSError:
        return True
