"""A real SMTP server on loopback that a test can tell how to behave."""

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
    """Keeps what it accepts. `answers`: what it says to a command instead of doing it, by the command's name.

    `silent`: commands to which it never says anything. `only`: the connections on which it behaves so; none: all.
    `greylist_s`: for so many seconds after the first attempt it defers the mails to a recipient.
    `drops`: it closes the connection instead of answering a mail that it has taken.
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
        """The connections that are open."""
        return [each for each in self.connections if each.transport is not None]

    def hang_up(self) -> None:
        """Close every connection, as a server does with those that are idle."""
        for each in self.open:
            each.transport.close()

    async def _meet(self, command: str, connection: Any) -> str | None:
        if self.only and connection not in self.only:
            return None
        if command in self.silent:
            await asyncio.Event().wait()
        return self.answers.get(command)

    async def handle_MAIL(self, server: Any, _session: Any, envelope: Any, address: str, options: Any) -> str:
        if answer := await self._meet("MAIL", server):
            return answer
        envelope.mail_from, envelope.mail_options = address, options
        return "250 OK"

    async def handle_RCPT(self, server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if answer := await self._meet("RCPT", server):
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
        return await self._meet("RSET", server) or "250 OK"

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
        return await self._meet("DATA", server) or "250 accepted"

    def login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        """Whether the name and the password are right."""
        name, password = data.login.decode(), data.password.decode()
        self.logins.append(name)
        return AuthResult(success=self.users.get(name) == password, handled=False)


@asynccontextmanager
async def mail_server(utf8: bool = True, tls: ssl.SSLContext | None = None) -> AsyncIterator[MailServer]:
    """One that listens, on a port of its own; with `tls` it offers STARTTLS."""
    mails = MailServer(free_port())

    def connection() -> SMTP:
        made = SMTP(
            mails,
            enable_SMTPUTF8=utf8,
            hostname="mail.example.com",
            tls_context=tls,
            authenticator=mails.login,
            loop=asyncio.get_running_loop(),
        )
        mails.connections.append(made)
        return made

    listener = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", mails.port)
    try:
        yield mails
    finally:
        listener.close()
        for each in mails.open:
            task = each._handler_coroutine
            if each.transport is not None:  # it may have been closed while others ended
                each.transport.abort()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def telnet(*lines: bytes) -> AsyncIterator[int]:
    """The port of a server that says one of these lines after each that it is told, the first as its greeting."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line + b"\r\n")
            await reader.readline()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(talk, "127.0.0.1", port):
        yield port
