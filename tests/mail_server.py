"""A real SMTP server on loopback whose behaviour a test controls."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

from devtools.wait import free_port


class MailServer:
    """Stores accepted mails in `mails`. Tests change these attributes to provoke faults:

    - `answers`: replies that are sent instead of executing a command, by command name.
    - `silent`: commands that are never answered.
    - `only`: if not empty, the connections to which `answers` and `silent` apply.
    - `greylist_s`: how long mails to a recipient are deferred after the first attempt.
    - `slow_s`: how long the server takes to accept a mail.
    - `drops`: close the connection after accepting a mail, without an answer.
    - `users`: passwords by user name.

    Recipients that start with `nobody` are rejected (550), those that start with `busy` are deferred (451).
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Any] = []
        self.answers: dict[str, str] = {}
        self.silent: set[str] = set()
        self.only: list[Any] = []
        self.drops = False
        self.slow_s = self.greylist_s = 0.0
        self.first_seen: dict[str, float] = {}
        self.users: dict[str, str] = {}
        self.logins: list[str] = []
        self.connections: list[Any] = []
        self.busy = self.most_at_once = 0

    @property
    def open(self) -> list[Any]:
        """The open connections."""
        return [connection for connection in self.connections if connection.transport is not None]

    def hang_up(self) -> None:
        """Close every connection, as a server closes idle ones."""
        for connection in self.open:
            connection.transport.close()

    async def _injected_answer(self, command: str, connection: Any) -> str | None:
        if self.only and connection not in self.only:
            return None
        if command in self.silent:
            await asyncio.Event().wait()
        return self.answers.get(command)

    async def handle_MAIL(self, server: Any, _session: Any, envelope: Any, address: str, options: Any) -> str:
        if answer := await self._injected_answer("MAIL", server):
            return answer
        envelope.mail_from, envelope.mail_options = address, options
        return "250 OK"

    async def handle_RCPT(self, server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if answer := await self._injected_answer("RCPT", server):
            return answer
        if address.startswith("nobody"):
            return f"550 no such user <{address}>"
        if address.startswith("busy"):
            return "451 try again later"
        first = self.first_seen.setdefault(address, time.monotonic())
        if time.monotonic() < first + self.greylist_s:
            return "451 4.7.1 greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_RSET(self, server: Any, _session: Any, _envelope: Any) -> str:
        return await self._injected_answer("RSET", server) or "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:
        self.busy += 1
        self.most_at_once = max(self.busy, self.most_at_once)
        await asyncio.sleep(self.slow_s)
        self.busy -= 1
        if answer := self.answers.get("DATA"):
            return answer
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        self.envelopes.append(envelope)
        if self.drops:
            server.transport.abort()
        return await self._injected_answer("DATA", server) or "250 accepted"

    def login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        """Authenticator for aiosmtpd: check the password and store the name in `logins`."""
        name, password = data.login.decode(), data.password.decode()
        self.logins.append(name)
        return AuthResult(success=self.users.get(name) == password, handled=False)


@asynccontextmanager
async def mail_server(utf8: bool = True, tls: ssl.SSLContext | None = None) -> AsyncIterator[MailServer]:
    """Run a mail server. `utf8`: offer SMTPUTF8. `tls`: offer STARTTLS."""
    mails = MailServer(free_port())

    def connect() -> SMTP:
        connection = SMTP(
            mails,
            enable_SMTPUTF8=utf8,
            hostname="mail.example.com",
            tls_context=tls,
            authenticator=mails.login,
            loop=asyncio.get_running_loop(),
        )
        mails.connections.append(connection)
        return connection

    listener = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", mails.port)
    try:
        yield mails
    finally:
        listener.close()
        for connection in mails.open:
            task = connection._handler_coroutine
            if connection.transport is not None:  # it may have been closed while another task ended
                connection.transport.abort()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def telnet(*lines: bytes) -> AsyncIterator[int]:
    """Run a server that sends the first line as its greeting, the next after each line received. Yields the port."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line + b"\r\n")
            await reader.readline()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(converse, "127.0.0.1", port):
        yield port
