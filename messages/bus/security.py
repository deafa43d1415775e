"""How to log in to a cluster: TLS, passwords and client certificates, and what must never be written down."""

import logging
import ssl
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from messages.errors import Refused

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
_HIDDEN = "(hidden)"


class SecurityError(Refused):
    """Raised when the security settings contradict each other, or a file that they name can't be used."""

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"security.{key}: {detail}")
        self.key, self.detail = key, detail


class Secret:
    """A text that shows itself to nobody who does not ask by `reveal()`: not in repr, logs, JSON or errors."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret{_HIDDEN}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not written anywhere: hand over the settings without it")


class Security(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a client proves who it is, and how it knows the brokers. The default is plain text without a login.

    `tls`: at least TLS 1.2, with the broker's certificate and host name checked against `ca_file` (PEM; the system's
    authorities when there is none). `certificate_file` and `key_file` (PEM) are the client's own, `key_password` opens
    an encrypted key. `mechanism` with `username` and `password`, or with a `password_file` of one line, is a login by
    SASL. PLAIN sends the password as it is, and so needs TLS, unless `allow_plain_text_password` says otherwise.

    Raises SecurityError when the values contradict each other. Files are looked at when they are used.
    """

    tls: bool = False
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: Secret | None = None
    mechanism: Mechanism | None = None
    username: str | None = None
    password: Secret | None = None
    password_file: str | None = None
    allow_plain_text_password: bool = False

    def __post_init__(self) -> None:
        self._check_certificates()
        self._check_login()

    def _check_certificates(self) -> None:
        if not self.tls:
            for key in ("ca_file", "certificate_file", "key_file", "key_password"):
                if getattr(self, key) is not None:
                    raise SecurityError(key, "has no use without TLS; set security.tls: true")
        if self.certificate_file is not None and self.key_file is None:
            raise SecurityError("certificate_file", "needs its private key; set security.key_file")
        if self.key_file is not None and self.certificate_file is None:
            raise SecurityError("key_file", "needs its certificate; set security.certificate_file")
        if self.key_password is not None and self.key_file is None:
            raise SecurityError("key_password", "opens nothing without security.key_file")
        _check_kind("key_password", self.key_password)

    def _check_login(self) -> None:
        _check_kind("password", self.password)
        if self.mechanism is None:
            for key in ("username", "password", "password_file"):
                if getattr(self, key) is not None:
                    raise SecurityError(key, "needs a way to log in; set security.mechanism, e.g. SCRAM-SHA-512")
            if self.allow_plain_text_password:
                raise SecurityError("allow_plain_text_password", "has no use without security.mechanism: PLAIN")
            return
        if not self.username:
            raise SecurityError("mechanism", f"{self.mechanism} needs a user; set security.username")
        if self.password is not None and self.password_file is not None:
            raise SecurityError("password", "is given twice; keep either security.password or security.password_file")
        if self.password is None and self.password_file is None:
            where = "set security.password_file, or TICKPILOT_SECURITY__PASSWORD in the environment"
            raise SecurityError("mechanism", f"{self.mechanism} needs a password; {where}")
        if self.password is not None and not self.password.reveal():
            raise SecurityError("password", "is empty")
        if self.mechanism == "PLAIN" and not self.tls and not self.allow_plain_text_password:
            detail = "PLAIN without TLS sends the password in clear; set security.tls: true, use SCRAM-SHA-512"
            raise SecurityError("mechanism", f"{detail}, or say security.allow_plain_text_password: true")

    @property
    def protocol(self) -> str:
        """Kafka's name for it: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        transport = "SSL" if self.tls else "PLAINTEXT"
        return transport if self.mechanism is None else f"SASL_{transport}"


def client_arguments(security: Security) -> dict[str, Any]:
    """Return the arguments that every aiokafka client takes. Reads the files; raises SecurityError."""
    arguments: dict[str, Any] = {"security_protocol": security.protocol}
    if security.tls:
        arguments["ssl_context"] = tls_context(security)
    if security.mechanism is not None:
        _hide_logins()
        arguments["sasl_mechanism"] = security.mechanism
        arguments["sasl_plain_username"] = security.username
        arguments["sasl_plain_password"] = _password(security)
    return arguments


def tls_context(security: Security) -> ssl.SSLContext:
    """Return a context that checks the broker's certificate and name. Reads the files; raises SecurityError."""
    for key in ("ca_file", "certificate_file", "key_file"):
        if (name := getattr(security, key)) is not None:
            _read(key, name)
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=security.ca_file)
    except (ssl.SSLError, OSError) as error:
        raise SecurityError("ca_file", f"{security.ca_file} holds no certificate in PEM format ({error})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if security.certificate_file is not None:
        _load_own(context, security)
    return context


def _load_own(context: ssl.SSLContext, security: Security) -> None:
    def key_password() -> str:  # without it OpenSSL would ask at the terminal
        if security.key_password is None:
            raise SecurityError("key_file", f"{security.key_file} is encrypted; set security.key_password")
        return security.key_password.reveal()

    certificate, key = str(security.certificate_file), str(security.key_file)
    try:
        context.load_cert_chain(certificate, key, key_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or type(error).__name__
        detail = f"{certificate} and {key} are no certificate with its key in PEM format ({why})"
        raise SecurityError("certificate_file", f"{detail}; check the pair and security.key_password") from None


def _password(security: Security) -> str:
    if security.password_file is None:
        return "" if security.password is None else security.password.reveal()
    password = _read("password_file", security.password_file).decode("utf-8", errors="replace").rstrip("\r\n")
    if not password or "\n" in password:
        raise SecurityError("password_file", f"{security.password_file} must hold one line, the password")
    return password


def _read(key: str, name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise SecurityError(key, f"{name} can't be read: {error.strerror}") from None


def _check_kind(key: str, value: object) -> None:
    if value is not None and not isinstance(value, Secret):
        raise SecurityError(key, "must be a Secret, so that it is never shown: Secret(text)")


def _hide_logins() -> None:
    """Keep aiokafka from logging requests that carry a password, at whatever level it logs."""
    logger = logging.getLogger("aiokafka.conn")
    if _carries_no_login not in logger.filters:
        logger.addFilter(_carries_no_login)


def _carries_no_login(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(type(argument).__name__.startswith("SaslAuthenticate") for argument in arguments)
