"""Stores for the registry's tests: a real S3 server on a loopback port, and one that dies at a chosen step."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from bundles.registry.store import Store

BUCKET = "bundles-test"


@contextmanager
def running_s3() -> Iterator[str]:
    """The root URI of a bucket on a moto server; the environment points there, with credentials of the test alone."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    # One request at a time: moto breaks when two write the same key at once, which S3 does not.
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        environment = {
            "AWS_ENDPOINT_URL": f"http://{server.host}:{server.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        with patch.dict(os.environ, environment):
            import fsspec

            fsspec.filesystem("s3").mkdir(BUCKET)
            yield f"s3://{BUCKET}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


class Crashed(BaseException):
    """The process is dead: nothing catches this, and nothing that it does afterwards reaches the store."""


class MortalStore:
    """A store whose user dies at its n-th change (`dies_at`), a write after `bytes_written` of its content.

    `after`: dies when the change is done instead of before it.
    """

    def __init__(
        self, store: Store, *, dies_at: int | None = None, bytes_written: int = 0, after: bool = False
    ) -> None:
        self._store, self._dies_at, self._bytes_written, self._after = store, dies_at, bytes_written, after
        self.moves_directories = store.moves_directories
        self.changes = 0
        self.sizes: list[int] = []
        self._dead = False

    def names(self, directory: str) -> list[str]:
        self._check_alive()
        return self._store.names(directory)

    def read(self, name: str) -> bytes:
        self._check_alive()
        return self._store.read(name)

    def size(self, directory: str) -> int:
        self._check_alive()
        return self._store.size(directory)

    def modified_ns(self, name: str) -> int:
        self._check_alive()
        return self._store.modified_ns(name)

    def write(self, name: str, content: bytes) -> None:
        self.sizes.append(len(content))
        with self._change():
            if self._dead and self.moves_directories and not self._after:
                self._store.write(name, content[: self._bytes_written])
            elif not self._dead or self._after:
                self._store.write(name, content)

    def move(self, source: str, target: str) -> None:
        with self._change():
            if not self._dead or self._after:
                self._store.move(source, target)

    def remove(self, name: str) -> None:
        with self._change():
            if not self._dead or self._after:
                self._store.remove(name)

    def _check_alive(self) -> None:
        if self._dead:
            raise Crashed

    @contextmanager
    def _change(self) -> Iterator[None]:
        self._check_alive()
        self._dead = self.changes == self._dies_at
        self.changes += 1
        yield
        self._check_alive()
