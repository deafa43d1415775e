"""What a broker's no means: aiokafka's errors and TLS's, as BusRefused with what to do. Nothing is asked here."""

import ssl
from collections.abc import Iterator
from typing import Any

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)

from messages.errors import BusRefused, RefusalCause

_EXPIRED, _OTHER_HOSTS = {9, 10}, {62, 63, 64}  # verify codes of OpenSSL
_ALERTS = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "HANDSHAKE_FAILURE")
_GRANT = "grant it with kafka-acls, or log in as another user"

_DENIED: dict[type[BaseException], tuple[RefusalCause, str]] = {
    TopicAuthorizationFailedError: (
        RefusalCause.TOPIC_DENIED,
        f"this user may not do that with the topic; readers need Read and writers Write: {_GRANT}",
    ),
    GroupAuthorizationFailedError: (
        RefusalCause.GROUP_DENIED,
        f"this user may not join the group, which needs Read on it: {_GRANT}",
    ),
    TransactionalIdAuthorizationFailed: (
        RefusalCause.PRODUCER_ID_DENIED,
        f"this user may not own the producer id, which needs Write on the transactional id: {_GRANT}",
    ),
    ClusterAuthorizationFailedError: (
        RefusalCause.CLUSTER_DENIED,
        f"this user may not do that on the cluster; producers need Write on a topic, creating topics Create: {_GRANT}",
    ),
    IllegalSaslStateError: (
        RefusalCause.LOGIN_NOT_OFFERED,
        "the brokers take no login at this port; remove security.mechanism, or use their SASL port",
    ),
    UnsupportedSaslMechanismError: (
        RefusalCause.MECHANISM_NOT_OFFERED,
        "the brokers don't offer this security.mechanism; use one that they name, or have it enabled",
    ),
    SaslAuthenticationFailed: (
        RefusalCause.WRONG_CREDENTIALS,
        "the brokers don't know this user with this password; correct security.username and the password",
    ),
}


def refusal(error: BaseException, url: str, operation: str) -> BusRefused | None:
    """Return what a broker, or its certificate, refuses; None when `error` and its causes hold nothing like that."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause, url)
        if isinstance(cause, ssl.SSLError) and any(alert in (cause.reason or "") for alert in _ALERTS):
            detail = "the brokers refuse this client's certificate, or want one; see security.certificate_file"
            return BusRefused(url, RefusalCause.OWN_CERTIFICATE_REFUSED, f"{detail} ({cause.reason})")
        if (known := _DENIED.get(type(cause))) is not None:
            return BusRefused(url, known[0], f"{operation}: {known[1]}{_words(cause)}")
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _untrusted(error: ssl.SSLCertVerificationError, url: str) -> BusRefused:
    if error.verify_code in _OTHER_HOSTS:
        detail = "the broker's certificate is for another host; use the name that stands in it"
        return BusRefused(url, RefusalCause.CERTIFICATE_OF_ANOTHER_HOST, f"{detail} ({error.verify_message})")
    if error.verify_code in _EXPIRED:
        detail = "the broker's certificate is not valid now; have it renewed, and look at this machine's clock"
        return BusRefused(url, RefusalCause.CERTIFICATE_EXPIRED, f"{detail} ({error.verify_message})")
    detail = "the broker's certificate is not signed by a trusted authority; set security.ca_file to the one that did"
    return BusRefused(url, RefusalCause.CERTIFICATE_NOT_TRUSTED, f"{detail} ({error.verify_message})")


def _words(error: Any) -> str:
    """What the broker has to say: the name of a topic or group, or its own sentence."""
    said = ", ".join(str(part) for part in error.args if part)
    return f" ({said})" if said else ""
