"""The store below the registry: a few operations on a directory tree, on a local disk or on any store of fsspec.

Every operation that changes something is one call of `Store`: what a crash between two of them leaves is what
`bundles.registry` has to live with. Names are relative to the root, with `/` between their parts.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from bundles.errors import BundleRefused
from messages.status import RejectCode

ALLOWED_PROTOCOLS = frozenset({"file", "memory", "s3", "gs", "gcs", "abfs", "abfss", "az"})
_TRANSPORT_ERRORS = (OSError, ValueError, ImportError, RuntimeError)
# The clients of object stores have errors of their own that derive from Exception alone.
_CLIENTS = frozenset({"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "s3fs"})
TIMEOUT_S = 10.0
_ATTEMPTS = 2
_EXTRAS = {"s3": "pip install 'tickpilot[s3]'", "gs": "pip install gcsfs", "gcs": "pip install gcsfs"}
_AZURE = "pip install adlfs"


class Store(Protocol):
    """A tree of files. Errors of transport come as they are; who calls puts `reaching` around it."""

    @property
    def moves_directories(self) -> bool:
        """Whether `move` of a directory is one step that can't be half done."""

    def names(self, directory: str) -> list[str]:
        """Return the names in the directory, sorted; none when it is not there."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises FileNotFoundError."""

    def size(self, directory: str) -> int:
        """Return the bytes of all files in the directory."""

    def modified_ns(self, name: str) -> int:
        """Return when a file or directory was last written, ns since the epoch, by the store's clock."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file and make it last. On a disk a crash may leave a part of it, on an object store never."""

    def move(self, source: str, target: str) -> None:
        """Rename; a file replaces a file. Only where `moves_directories`."""

    def remove(self, name: str) -> None:
        """Remove a file, or an empty directory; nothing happens when it is not there."""


@contextmanager
def reaching(uri: str, what: str) -> Iterator[None]:
    """Turn errors of a store's transport into BundleRefused UNREACHABLE: `uri` can't be `what`."""
    try:
        yield
    except Exception as error:
        if not _is_transport(error):
            raise
        said = str(error) or type(error).__name__
        raise BundleRefused(RejectCode.UNREACHABLE, f"{uri} can't be {what} ({said})", uri=uri) from error


def open_filesystem(uri: str, timeout_s: float = TIMEOUT_S) -> tuple[Any, str]:
    """Return the fsspec filesystem and the path in it.

    `timeout_s` bounds each wait on an s3 store; it is tried twice. Raises BundleRefused UNREACHABLE for protocols that
    are not allowed, and when the package of a store is not installed.
    """
    import fsspec

    # Chained addresses (a::b) and protocols like ssh or github would let a message choose what this process contacts.
    protocol = uri.partition("://")[0] if "://" in uri else "file"
    if "::" in uri or protocol not in ALLOWED_PROTOCOLS:
        raise BundleRefused(
            RejectCode.UNREACHABLE, f"{uri!r} is not at one of {', '.join(sorted(ALLOWED_PROTOCOLS))}", uri=uri
        )
    options = _s3_options(timeout_s) if protocol == "s3" else {}
    try:
        filesystem, path = fsspec.core.url_to_fs(uri, **options)
    except ImportError as error:
        remedy = _EXTRAS.get(protocol, _AZURE)
        raise BundleRefused(RejectCode.UNREACHABLE, f"{uri} needs a package: {remedy} ({error})", uri=uri) from error
    if protocol == "s3":
        filesystem.retries = _ATTEMPTS
    return filesystem, str(path)


def is_local(filesystem: Any) -> bool:
    """Whether the filesystem is this machine's."""
    return "file" in (filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,))


def open_store(uri: str, timeout_s: float = TIMEOUT_S) -> Store:
    """Return the store whose root is at `uri`. Raises BundleRefused UNREACHABLE as `open_filesystem` does."""
    filesystem, path = open_filesystem(uri, timeout_s)
    return DiskStore(Path(path)) if is_local(filesystem) else ObjectStore(filesystem, path)


class DiskStore:
    """A directory of this machine."""

    moves_directories = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, directory: str) -> list[str]:
        try:
            return sorted(path.name for path in (self._root / directory).iterdir())
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        # A link is no file of a bundle, wherever it leads.
        descriptor = os.open(self._root / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def size(self, directory: str) -> int:
        return sum(path.lstat().st_size for path in (self._root / directory).iterdir())

    def modified_ns(self, name: str) -> int:
        return (self._root / name).lstat().st_mtime_ns

    def write(self, name: str, content: bytes) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(path.parent)

    def move(self, source: str, target: str) -> None:
        (self._root / target).parent.mkdir(parents=True, exist_ok=True)
        (self._root / source).replace(self._root / target)
        _sync_directory((self._root / target).parent)

    def remove(self, name: str) -> None:
        path = self._root / name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


class ObjectStore:
    """A prefix of an object store: directories are only names, an object is written whole or not at all."""

    moves_directories = False

    def __init__(self, filesystem: Any, root: str) -> None:
        self._filesystem, self._root = filesystem, root.rstrip("/")

    def names(self, directory: str) -> list[str]:
        self._filesystem.invalidate_cache()
        path = self._path(directory)
        try:
            listed = [str(name).rstrip("/") for name in self._filesystem.ls(path, detail=False)]
        except FileNotFoundError:
            self._check_bucket()
            return []
        return sorted(name.rsplit("/", 1)[-1] for name in listed if name.strip("/") != path.strip("/"))

    def read(self, name: str) -> bytes:
        content: bytes = self._filesystem.cat_file(self._path(name))
        return content

    def size(self, directory: str) -> int:
        return sum(int(entry["size"] or 0) for entry in self._filesystem.ls(self._path(directory), detail=True))

    def modified_ns(self, name: str) -> int:
        path = self._path(name)
        times = [self._filesystem.modified(found) for found in self._filesystem.find(path)]
        return max((int(time.timestamp() * 1_000_000) * 1_000 for time in times), default=0)

    def write(self, name: str, content: bytes) -> None:
        self._filesystem.pipe_file(self._path(name), content)

    def move(self, source: str, target: str) -> None:
        raise OSError(f"{source} can't be moved to {target}: object stores don't rename")

    def remove(self, name: str) -> None:
        path = self._path(name)
        try:
            if not self._filesystem.isdir(path):
                self._filesystem.rm_file(path)
            elif not _is_s3(self._filesystem):  # which has no directories; the others may keep an empty one
                self._filesystem.rmdir(path)
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _check_bucket(self) -> None:
        # To s3fs a bucket that isn't there and an empty prefix look alike; only the second is an empty registry.
        if _is_s3(self._filesystem) and not self._filesystem.exists(self._root.partition("/")[0]):
            raise FileNotFoundError(f"there is no bucket {self._root.partition('/')[0]!r}")


def remove_tree(store: Store, directory: str) -> None:
    """Remove a directory of files, file by file."""
    for name in store.names(directory):
        store.remove(f"{directory}/{name}")
    store.remove(directory)


def _is_transport(error: Exception) -> bool:
    clients = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, _TRANSPORT_ERRORS) or not clients.isdisjoint(_CLIENTS)


def _is_s3(filesystem: Any) -> bool:
    return "s3" in filesystem.protocol


def _s3_options(timeout_s: float) -> dict[str, Any]:
    return {
        "config_kwargs": {
            "connect_timeout": timeout_s,
            "read_timeout": timeout_s,
            "retries": {"total_max_attempts": 1},
        }
    }


def _sync_directory(path: Path) -> None:
    # A rename lasts through a power cut only when the directory that holds the name was synced.
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
