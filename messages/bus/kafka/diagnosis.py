"""Why no client comes up: one probing connection to each server, step by step, until something says no."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from messages.bus.kafka.refusals import refusal
from messages.errors import BusRefused, BusUnavailable, RefusalCause, TickpilotError

_SERVERS = 3  # so many are asked; the others say the same
_UNREADABLE = (KafkaError, OSError, EOFError, TimeoutError, AssertionError, ValueError)


async def explained(error: BusUnavailable, what: str, connection: dict[str, Any], step_s: float) -> TickpilotError:
    """Return the reason why `what` could not start: BusRefused, BusUnavailable that says more, or `error` itself."""
    found = await diagnose(error.url, connection, step_s)
    if isinstance(found, BusUnavailable):
        return BusUnavailable(error.url, f"starting {what}: {found.detail}")
    return found or error


async def diagnose(url: str, connection: dict[str, Any], step_s: float) -> TickpilotError | None:
    """Return why clients with these arguments can't work with the servers of `url`; None when a probe finds nothing.

    BusRefused when a server says no, or speaks another protocol; BusUnavailable when none of them can be reached. Each
    step (a name, a connection, a handshake, an answer) is given `step_s`.
    """
    servers = [server.rsplit(":", 1) for server in connection["bootstrap_servers"][:_SERVERS]]
    probes = (_Probe(url, host.strip("[]"), int(port), connection, step_s).run() for host, port in servers)
    found = await asyncio.gather(*probes)
    if None in found:
        return None
    refused = [error for error in found if isinstance(error, BusRefused)]
    if refused:
        return refused[0]
    return BusUnavailable(url, "; ".join(str(getattr(error, "detail", error)) for error in found))


class _Probe:
    """One server, asked step by step."""

    def __init__(self, url: str, host: str, port: int, connection: dict[str, Any], step_s: float) -> None:
        self._url, self._host, self._port, self._step_s = url, host, port, step_s
        self._arguments = {name: value for name, value in connection.items() if name != "bootstrap_servers"}
        self._has_tls = "ssl_context" in connection
        self._has_login = "sasl_mechanism" in connection
        self._where = f"{host}:{port}"

    async def run(self) -> TickpilotError | None:
        if (reason := await self._unreachable(self._host, self._port)) is not None:
            return BusUnavailable(self._url, reason)
        try:
            raw = await self._connected(**self._arguments)
        except _UNREADABLE as error:
            return refusal(error, self._url, "logging in") or await self._other_protocol(error)
        try:
            metadata = await asyncio.wait_for(raw.send(MetadataRequest([])), self._step_s)
        except _UNREADABLE as error:
            return refusal(error, self._url, "asking for the brokers") or self._silent(error)
        finally:
            await self._closed(raw)
        return await self._advertised([(broker[1], broker[2]) for broker in metadata.brokers])

    async def _connected(self, **arguments: Any) -> AIOKafkaConnection:
        return await create_conn(self._host, self._port, **arguments, request_timeout_ms=round(self._step_s * 1000))

    async def _unreachable(self, host: str, port: int) -> str | None:
        """Return why there is no connection to the port, or None."""
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), self._step_s)
        except (OSError, TimeoutError):
            return f"the name {host} is not known here"
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), self._step_s)
        except TimeoutError:
            return f"{host}:{port} does not answer within {self._step_s:g} s, as behind a firewall"
        except OSError as error:
            return f"nobody listens on {host}:{port} ({error.strerror or error})"
        writer.close()
        return None

    def _silent(self, error: BaseException) -> TickpilotError:
        if not self._has_login:
            detail = f"{self._where} wants a login; set security.mechanism, username and password"
            return BusRefused(self._url, RefusalCause.LOGIN_REQUIRED, detail)
        return BusUnavailable(self._url, f"{self._where} closes the connection when it is asked ({error!r})")

    async def _other_protocol(self, error: BaseException) -> TickpilotError:
        """The port is open, and the client's protocol fails there: find out whether it speaks the other one."""
        if self._has_tls and await self._speaks_plain_text():
            detail = f"{self._where} speaks plain text, not TLS; use the brokers' TLS port, or set security.tls: false"
            return BusRefused(self._url, RefusalCause.TLS_NOT_OFFERED, detail)
        if not self._has_tls and await self._speaks_tls():
            detail = f"{self._where} speaks TLS, and was spoken to in plain text; set security.tls: true and ca_file"
            return BusRefused(self._url, RefusalCause.TLS_REQUIRED, detail)
        detail = f"{self._where} accepts connections, but does not answer as a Kafka broker ({error!r})"
        return BusUnavailable(self._url, detail)

    async def _speaks_plain_text(self) -> bool:
        try:
            raw = await self._connected(security_protocol="PLAINTEXT")
        except _UNREADABLE:
            return False
        await self._closed(raw)
        return True

    async def _closed(self, raw: AIOKafkaConnection) -> None:
        if (closing := raw.close()) is not None:
            await asyncio.wait({closing}, timeout=self._step_s)  # over TLS both sides say goodbye

    async def _speaks_tls(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent: only whether it answers
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(self._host, self._port, ssl=context), self._step_s
            )
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")
        except (OSError, EOFError, TimeoutError):
            return False
        writer.close()
        return True

    async def _advertised(self, brokers: Sequence[tuple[str, int]]) -> TickpilotError | None:
        """The server is well: are the brokers where it says that they are?"""
        reasons = await asyncio.gather(*(self._unreachable(host, port) for host, port in brokers[:_SERVERS]))
        missing = [reason for reason in reasons if reason is not None]
        if not missing or len(missing) < len(reasons):
            return None
        detail = f"the cluster answers, but the addresses that it gives are no use here: {'; '.join(missing)}"
        return BusUnavailable(self._url, f"{detail}; correct the brokers' advertised.listeners")
