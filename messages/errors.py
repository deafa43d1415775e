"""The error hierarchy: sorted by what the caller does about it."""

from enum import StrEnum


class TickpilotError(Exception):
    """Root of every error that tickpilot raises on purpose."""


class Retryable(TickpilotError):  # noqa: N818 - named after the reaction
    """Try again: the outside world was slow or away."""


class Refused(TickpilotError):  # noqa: N818 - named after the reaction
    """Bad input or no trust: park it, say why, go on."""


class Fatal(TickpilotError):  # noqa: N818 - named after the reaction
    """Stop the agent: going on could trade wrongly."""


class BadMessage(Refused):
    """Raised when bytes on a topic are not a valid message of that topic."""

    def __init__(self, topic: str, detail: str) -> None:
        super().__init__(f"{topic}: {detail}; see `tickpilot schema json` for the message's fields")
        self.topic, self.detail = topic, detail


class NotFinite(Refused):
    """Raised when a message holds NaN or infinity, on the way in or out."""

    def __init__(self, message_type: str, field: str, value: float) -> None:
        super().__init__(f"{message_type}.{field} is {value}; only finite numbers may travel")
        self.message_type, self.field, self.value = message_type, field, value


class BusTimeout(Retryable):
    """Raised when the bus did not answer in time; the fate of what was asked is unknown."""

    def __init__(self, operation: str, timeout_s: float) -> None:
        super().__init__(f"{operation} had no answer within {timeout_s:g} s; check that the brokers are reachable")
        self.operation, self.timeout_s = operation, timeout_s


class BusUnavailable(Retryable):
    """Raised when no broker can be reached or the client is closed."""

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(f"{url}: {detail}; check the address, the network and the broker's log")
        self.url, self.detail = url, detail


class RefusalCause(StrEnum):
    """Why brokers want nothing to do with a client: the closed list. Trying again changes none of these."""

    WRONG_CREDENTIALS = "wrong-credentials"
    MECHANISM_NOT_OFFERED = "mechanism-not-offered"
    LOGIN_REQUIRED = "login-required"
    LOGIN_NOT_OFFERED = "login-not-offered"
    TLS_REQUIRED = "tls-required"
    TLS_NOT_OFFERED = "tls-not-offered"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_OF_ANOTHER_HOST = "certificate-of-another-host"
    OWN_CERTIFICATE_REFUSED = "own-certificate-refused"
    TOPIC_DENIED = "topic-denied"
    GROUP_DENIED = "group-denied"
    PRODUCER_ID_DENIED = "producer-id-denied"
    CLUSTER_DENIED = "cluster-denied"


class BusRefused(Fatal):
    """Raised when a broker answers, and says no: who asks must change something before it is worth asking again."""

    def __init__(self, url: str, cause: RefusalCause, detail: str) -> None:
        super().__init__(f"{url}: {detail}")
        self.url, self.cause, self.detail = url, cause, detail


class PartitionLost(Retryable):
    """Raised when a group's member acts on a partition that it doesn't hold (any more)."""

    def __init__(self, operation: str, detail: str) -> None:
        super().__init__(f"{operation}: {detail}; the group has moved the partition, go on with those held")
        self.operation, self.detail = operation, detail


class ProducerFenced(Fatal):
    """Raised when another owner has taken over this producer's id. Never retried."""

    def __init__(self, producer_id: str) -> None:
        super().__init__(f"producer {producer_id} was fenced: another process owns this shard now; stop this one")
        self.producer_id = producer_id


class TopicMismatch(Fatal):
    """Raised when a topic is missing or not as registered."""

    def __init__(self, topic: str, detail: str) -> None:
        super().__init__(f"topic {topic}: {detail}; run `tickpilot topics check`, then `tickpilot topics create`")
        self.topic, self.detail = topic, detail
