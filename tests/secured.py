"""A secured Apache Kafka for the tests: TLS, logins, client certificates and access lists on one local node."""

import datetime as dt
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Struct

from agents.lifecycle import local_kafka
from messages import Secret, Security
from tests.brokers import new_directory, remove_left_behind

PASSWORD = "correct horse battery"
USERS = ("admin", "alice", "clerk", "reader")  # admin may all, the others what a test allows them
_DAY = dt.timedelta(days=1)
_BORN = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Issued(Struct, frozen=True, kw_only=True):
    """A certificate and its key, both in memory and as one PEM file each."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    certificate_file: Path
    key_file: Path


def make_authority(directory: Path, name: str) -> Issued:
    """Write a certificate authority of its own to `directory`."""
    return _issue(directory, name, None)


def issue(directory: Path, name: str, authority: Issued) -> Issued:
    """Write a certificate for the host `localhost` and the client `name`, signed by the authority."""
    return _issue(directory, name, authority)


def _issue(directory: Path, name: str, authority: Issued | None) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority is None else authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BORN)
        .not_valid_after(_BORN + 36_500 * _DAY)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )
    if authority is not None:
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])  # not 127.0.0.1, to be seen as another host
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(key if authority is None else authority.key, hashes.SHA256())
    directory.mkdir(parents=True, exist_ok=True)
    issued = Issued(
        certificate=certificate,
        key=key,
        certificate_file=directory / f"{name}.pem",
        key_file=directory / f"{name}.key",
    )
    issued.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    issued.key_file.write_bytes(pem_key(key))
    return issued


def pem_key(key: ec.EllipticCurvePrivateKey, password: str | None = None) -> bytes:
    """Return the key as PKCS 8, encrypted if there is a password."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


class SecuredKafka(Struct, frozen=True, kw_only=True):
    """A node with one port for logins over TLS, one for client certificates, and a plain one for whoever may all."""

    login_url: str
    certificate_url: str
    plain_url: str
    ca_file: Path
    other_ca_file: Path
    client: Issued

    def login(self, username: str = "alice", **changes: object) -> Security:
        """Return a login over TLS by SCRAM-SHA-512."""
        security = Security(
            tls=True,
            ca_file=str(self.ca_file),
            mechanism="SCRAM-SHA-512",
            username=username,
            password=Secret(PASSWORD),
        )
        return msgspec.structs.replace(security, **changes)

    def certificate(self) -> Security:
        """Return a login by client certificate alone."""
        return Security(
            tls=True,
            ca_file=str(self.ca_file),
            certificate_file=str(self.client.certificate_file),
            key_file=str(self.client.key_file),
        )


@contextmanager
def secured_kafka() -> Iterator[SecuredKafka]:
    """Yield a node of its own; nobody is allowed anything but `admin` and the plain loopback port."""
    remove_left_behind()
    home = new_directory()
    authority, stranger = make_authority(home / "pem", "ca"), make_authority(home / "pem", "stranger")
    served, client = issue(home / "pem", "broker", authority), issue(home / "pem", "client", authority)
    keystore = home / "pem" / "keystore.pem"
    keystore.write_bytes(served.key_file.read_bytes() + served.certificate_file.read_bytes())
    plain, login, certificate, controller = (local_kafka.free_port() for _ in range(4))
    broker = local_kafka.LocalBroker(
        directory=home,
        port=plain,
        controller_port=controller,
        settings=_settings(plain, login, certificate, controller, keystore, authority.certificate_file),
        format_options=tuple(_scram_users(("SCRAM-SHA-512", "SCRAM-SHA-256"))),
    )
    try:
        local_kafka.start(broker)
        yield SecuredKafka(
            login_url=f"kafka://localhost:{login}",
            certificate_url=f"kafka://localhost:{certificate}",
            plain_url=broker.url,
            ca_file=authority.certificate_file,
            other_ca_file=stranger.certificate_file,
            client=client,
        )
    finally:
        local_kafka.stop(home)
        shutil.rmtree(home, ignore_errors=True)


def _settings(
    plain: int, login: int, certificate: int, controller: int, keystore: Path, ca_file: Path
) -> dict[str, str]:
    listeners = {
        "PLAINTEXT": f"127.0.0.1:{plain}",
        "SASL_SSL": f"localhost:{login}",
        "SSL": f"localhost:{certificate}",
        "CONTROLLER": f"127.0.0.1:{controller}",
    }
    module = "org.apache.kafka.common.security"
    users = " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
    return {
        "listeners": ",".join(f"{name}://{address}" for name, address in listeners.items()),
        "advertised.listeners": ",".join(f"{n}://{a}" for n, a in listeners.items() if n != "CONTROLLER"),
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca_file),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{module}.plain.PlainLoginModule required {users};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",  # ANONYMOUS: the plain loopback port, for the tests themselves
        "allow.everyone.if.no.acl.found": "false",
    }


def _scram_users(mechanisms: Iterable[str]) -> Iterator[str]:
    for mechanism in mechanisms:
        for user in USERS:
            yield "--add-scram"
            yield f'{mechanism}=[name={user},password="{PASSWORD}"]'


class Grant(Struct, frozen=True, kw_only=True):
    """What a user may do with everything whose name begins with `prefix`."""

    user: str
    kind: Literal["topic", "group", "transactional_id"]
    prefix: str
    operations: tuple[str, ...]


def allow(secured: SecuredKafka, *grants: Grant) -> None:
    """Write access lists, as `kafka-acls` does."""
    from confluent_kafka.admin import (
        AclBinding,
        AclOperation,
        AclPermissionType,
        AdminClient,
        ResourcePatternType,
        ResourceType,
    )

    bindings = [
        AclBinding(
            ResourceType[grant.kind.upper()],
            grant.prefix,
            ResourcePatternType.PREFIXED,
            grant.user if ":" in grant.user else f"User:{grant.user}",
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
        for grant in grants
        for operation in grant.operations
    ]
    admin = AdminClient({"bootstrap.servers": secured.plain_url.removeprefix("kafka://")})
    for done in admin.create_acls(bindings, request_timeout=20).values():
        done.result(20)
