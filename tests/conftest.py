"""Fixtures for all tests. Nothing imports this file."""

import os
from collections.abc import Iterator

import pytest

from tests.brokers import NoKafka, running_kafka


@pytest.fixture(scope="session")
def kafka_url() -> Iterator[str]:
    """The address of one real Apache Kafka for the whole run; each test takes a topic prefix of its own.

    Without any, the test is skipped with the reason; in CI it fails.
    """
    try:
        with running_kafka() as url:
            yield url
    except NoKafka as error:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"CI must have a Kafka: {error}")
        pytest.skip(f"no Kafka: {error}")
