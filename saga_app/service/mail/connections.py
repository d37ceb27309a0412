"""A pool of connections to one mail server.

The connection that was used last is used next, so that surplus connections become idle, and are closed after `IDLE_S`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

#: The maximum number of connections; further senders wait. Servers commonly allow 10 to 50 per client.
MAX_CONNECTIONS = 8
#: Seconds after which an idle connection is closed. Servers close it after some minutes (RFC 5321 4.5.3.2.7).
IDLE_S = 20.0
#: Timeout in seconds for checking whether an idle connection still works.
PROBE_S = 2.0
#: Timeout of QUIT in seconds.
QUIT_S = 1.0

#: "Service not available, closing transmission channel" (RFC 5321 4.2.3).
CLOSING = 421


class ConnectionPool:
    """A pool of up to `limit` connections, which `make` creates on demand."""

    def __init__(
        self, make: Callable[[], SMTP], limit: int = MAX_CONNECTIONS, idle_s: float = IDLE_S, probe_s: float = PROBE_S
    ) -> None:
        self.idle_s, self.probe_s = idle_s, probe_s
        self._make = make
        self._slots = asyncio.Semaphore(limit)
        self._kept: list[tuple[SMTP, asyncio.TimerHandle]] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SMTP]:
        """A working connection for one mail, after EHLO. It returns to the pool afterwards.

        Raises the errors of aiosmtplib if no connection can be made. An error in the body closes the connection, except
        for an ordinary error response of the server.
        """
        async with self._slots:
            client = await self._reuse() or await self._connected()
            is_usable = False
            try:
                yield client
                is_usable = True
            except SMTPResponseException as answer:
                is_usable = answer.code >= 400 and answer.code != CLOSING
                raise
            finally:
                self._put_back(client, is_usable)

    async def close(self) -> None:
        """Close all idle connections within `QUIT_S` seconds. Connections in use are closed after their mail."""
        self._closed = True
        while self._kept:
            self._quit(self._kept[-1][0])
        await asyncio.gather(*self._leaving)

    async def _reuse(self) -> SMTP | None:
        """The idle connection that was used last, if the server still responds on it; otherwise None."""
        if not self._kept:
            return None
        client, timer = self._kept.pop()
        timer.cancel()
        try:
            return await self._reset(client, self.probe_s)
        except (SMTPException, OSError):
            return None

    async def _connected(self) -> SMTP:
        client = self._make()
        await client.connect()
        return await self._reset(client, client.timeout)

    async def _reset(self, client: SMTP, timeout_s: float | None) -> SMTP:
        """Send RSET, which checks the connection. On a new connection aiosmtplib sends EHLO before it."""
        try:
            await client.rset(timeout=timeout_s)
        except BaseException:
            client.close()
            raise
        return client

    def _put_back(self, client: SMTP, is_usable: bool) -> None:
        if is_usable and client.is_connected and not self._closed:
            timer = asyncio.get_running_loop().call_later(self.idle_s, self._quit, client)
            self._kept.append((client, timer))
        else:
            client.close()

    def _quit(self, client: SMTP) -> None:
        """Remove a connection from the pool and close it in the background."""
        for kept in self._kept:
            if kept[0] is client:
                kept[1].cancel()
        self._kept = [kept for kept in self._kept if kept[0] is not client]
        task = asyncio.create_task(_quit(client))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _quit(client: SMTP) -> None:
    try:
        await client.quit(timeout=QUIT_S)
    except (SMTPException, OSError):
        pass  # the connection was closed already
    finally:
        client.close()
