"""How to log in: what contradicts itself is refused in words, and what is secret is shown nowhere."""

import logging
import pickle
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest

from messages import Secret, Security, connect
from messages.bus.security import SecurityError, client_arguments, tls_context
from tests.secured import issue, make_authority, pem_key

PASSWORD = Secret("hunter2-hunter2")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"password": PASSWORD}, "security.password: needs a way to log in; set security.mechanism"),
        ({"username": "a"}, "security.username: needs a way"),
        ({"mechanism": "SCRAM-SHA-512", "password": PASSWORD}, "set security.username"),
        ({"mechanism": "SCRAM-SHA-512", "username": "a"}, "TICKPILOT_SECURITY__PASSWORD"),
        ({"mechanism": "SCRAM-SHA-512", "username": "a", "password": Secret("")}, "is empty"),
        ({"mechanism": "SCRAM-SHA-512", "username": "a", "password": "plain"}, "must be a Secret"),
        ({"mechanism": "PLAIN", "username": "a", "password": PASSWORD}, "sends the password in clear"),
        (
            {"mechanism": "SCRAM-SHA-256", "username": "a", "password": PASSWORD, "password_file": "p"},
            "is given twice",
        ),
        ({"allow_plain_text_password": True}, "has no use"),
        ({"ca_file": "ca.pem"}, "security.ca_file: has no use without TLS"),
        ({"certificate_file": "c.pem", "key_file": "k.pem"}, "no use without TLS"),
        ({"tls": True, "certificate_file": "c.pem"}, "needs its private key"),
        ({"tls": True, "key_file": "k.pem"}, "needs its certificate"),
        ({"tls": True, "key_password": PASSWORD}, "opens nothing"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SecurityError) as caught:
        Security(**values)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_plain_without_tls_goes_when_it_is_said_in_words() -> None:
    security = Security(mechanism="PLAIN", username="a", password=PASSWORD, allow_plain_text_password=True)
    assert security.protocol == "SASL_PLAINTEXT"


def test_the_default_is_plain_text_without_login() -> None:
    assert client_arguments(Security()) == {"security_protocol": "PLAINTEXT"}


def test_secrets_show_themselves_to_nobody() -> None:
    security = Security(tls=True, mechanism="PLAIN", username="a", password=PASSWORD)
    assert "hunter2" not in f"{security!r} {security} {PASSWORD!r} {PASSWORD} {msgspec.structs.asdict(security)}"
    with pytest.raises(TypeError):
        msgspec.json.encode(security)
    with pytest.raises(TypeError):
        msgspec.to_builtins(security)
    with pytest.raises(TypeError):
        pickle.dumps(PASSWORD)
    assert PASSWORD == Secret("hunter2-hunter2") != Secret("other")


def test_a_password_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "password"
    security = Security(mechanism="SCRAM-SHA-512", username="a", password_file=str(path))
    with pytest.raises(SecurityError, match=r"security\.password_file: .*can't be read: No such file"):
        client_arguments(security)
    path.write_text("hunter2\n")
    assert client_arguments(security)["sasl_plain_password"] == "hunter2"
    for wrong in ("", "one\ntwo\n"):
        path.write_text(wrong)
        with pytest.raises(SecurityError, match="one line"):
            client_arguments(security)


def test_tls_checks_names_and_is_not_older_than_1_2(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "ca")
    context = tls_context(Security(tls=True, ca_file=str(authority.certificate_file)))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "ca")
    own, other = issue(tmp_path, "own", authority), issue(tmp_path, "other", authority)
    sealed, noise = tmp_path / "sealed.key", tmp_path / "noise.pem"
    sealed.write_bytes(pem_key(own.key, "opener"))
    noise.write_text("no certificate")

    def use(**values: Any) -> None:
        texts: dict[str, Any] = {k: v if isinstance(v, Secret) else str(v) for k, v in values.items()}
        tls_context(Security(tls=True, **texts))

    pair = {"certificate_file": own.certificate_file}
    use(**pair, key_file=own.key_file)
    use(**pair, key_file=sealed, key_password=Secret("opener"))
    for values, said in (
        ({"ca_file": tmp_path / "none.pem"}, "security.ca_file: .*none.pem can't be read: No such file"),
        ({"ca_file": noise}, "security.ca_file: .*noise.pem holds no certificate"),
        ({"ca_file": tmp_path}, "security.ca_file: .*directory"),
        ({**pair, "key_file": tmp_path / "none.key"}, "security.key_file: .*none.key can't be read"),
        ({**pair, "key_file": other.key_file}, "security.certificate_file: .*KEY_VALUES_MISMATCH"),
        ({**pair, "key_file": noise}, "security.certificate_file: "),
        ({**pair, "key_file": sealed}, "is encrypted; set security.key_password"),
        ({**pair, "key_file": sealed, "key_password": PASSWORD}, "check the pair and security.key_password"),
    ):
        with pytest.raises(SecurityError, match=said) as caught:
            use(**values)
        assert "hunter2" not in str(caught.value)


def test_a_bus_with_files_that_are_missing_is_refused_before_anything_is_contacted() -> None:
    with pytest.raises(SecurityError, match=r"nowhere\.pem"):
        connect("kafka://127.0.0.1:1", security=Security(tls=True, ca_file="nowhere.pem"))


def test_requests_that_carry_a_password_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    from aiokafka.protocol.admin import SaslAuthenticateRequest_v0

    client_arguments(Security(tls=True, mechanism="PLAIN", username="a", password=PASSWORD))
    with caplog.at_level(logging.DEBUG, "aiokafka"):
        logging.getLogger("aiokafka.conn").debug(
            "Request to %s: %s", "host", SaslAuthenticateRequest_v0(b"\0a\0hunter2")
        )
        logging.getLogger("aiokafka.conn").debug("Request to %s: %s", "host", "another")
    assert "hunter2" not in caplog.text
    assert "another" in caplog.text
