"""A few connections to one mail server, kept for the next mail.

Each is used by one sender at a time. The one used last is used next, so that those not needed grow idle; one that has
been idle for a while is closed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

#: At once; more senders wait. Servers commonly allow one client some 10 to 50.
LINES = 8
#: Seconds after which an idle connection is closed; servers do it after some minutes (RFC 5321 4.5.3.2.7).
IDLE_S = 20.0
#: Seconds that the server may take to show that a kept connection lives.
PROBE_S = 2.0
#: Seconds for the goodbye.
QUIT_S = 1.0

#: "Service not available, closing transmission channel" (RFC 5321 4.2.3).
CLOSING = 421


class Lines:
    """Connections made when they are needed, by `make`."""

    def __init__(
        self, make: Callable[[], SMTP], limit: int = LINES, idle_s: float = IDLE_S, probe_s: float = PROBE_S
    ) -> None:
        self.idle_s, self.probe_s = idle_s, probe_s
        self._make = make
        self._slots = asyncio.Semaphore(limit)
        self._kept: list[tuple[SMTP, asyncio.TimerHandle]] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def line(self) -> AsyncIterator[SMTP]:
        """A connection that lives and has been greeted, for one mail; the next one has it after that.

        Raises what aiosmtplib raises when there is none to be had. Whatever goes wrong inside closes it,
        except for a plain answer of the server.
        """
        async with self._slots:
            client = await self._alive() or await self._connected()
            sound = False
            try:
                yield client
                sound = True
            except SMTPResponseException as answer:
                sound = answer.code >= 400 and answer.code != CLOSING
                raise
            finally:
                self._put_back(client, sound)

    async def close(self) -> None:
        """Say goodbye on all that is kept; what is still in use is closed after its mail. Takes `QUIT_S` at most."""
        self._closed = True
        while self._kept:
            self._leave(self._kept[-1][0])
        await asyncio.gather(*self._leaving)

    async def _alive(self) -> SMTP | None:
        """The kept connection that was used last, if the server still answers on it; nothing of a mail is said yet."""
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
        """No mail is begun; on a new connection EHLO goes first, which tells what the server can do."""
        try:
            await client.rset(timeout=timeout_s)
        except BaseException:
            client.close()
            raise
        return client

    def _put_back(self, client: SMTP, sound: bool) -> None:
        if sound and client.is_connected and not self._closed:
            timer = asyncio.get_running_loop().call_later(self.idle_s, self._leave, client)
            self._kept.append((client, timer))
        else:
            client.close()

    def _leave(self, client: SMTP) -> None:
        """Not kept any longer."""
        for kept in self._kept:
            if kept[0] is client:
                kept[1].cancel()
        self._kept = [kept for kept in self._kept if kept[0] is not client]
        task = asyncio.create_task(_goodbye(client))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _goodbye(client: SMTP) -> None:
    try:
        await client.quit(timeout=QUIT_S)
    except (SMTPException, OSError):
        pass  # it was gone already
    finally:
        client.close()
