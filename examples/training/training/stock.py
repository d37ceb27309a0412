"""The device stock, reserved over HTTP. The server recognises idempotency keys, so a request can be repeated."""

from typing import Any
from urllib.parse import quote

import aiohttp

from saga_app.saga import Permanent, Transient

#: The timeout of one request (seconds). After a timeout, the retry policy of the step applies.
TIMEOUT_S = 5.0


class HttpStock:
    """A client of the inventory at `url`. It opens its HTTP session with the first request."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def reserve(self, key: str, department: str) -> str | None:
        """Reserve a device. Returns its id, the same for the same key; None if none is left.

        Raises `Transient` if the inventory cannot be reached or fails, `Permanent` if it rejects the request.
        """
        answer = await self._request("PUT", key, {"department": department})
        return str(answer["device_id"]) if answer else None

    async def release(self, key: str) -> None:
        """Return the device of this key. Raises as `reserve` does."""
        await self._request("DELETE", key)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _request(self, method: str, key: str, body: Any = None) -> dict[str, Any] | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        url = f"{self.url}/reservations/{quote(key, safe='')}"
        try:
            async with self._session.request(method, url, json=body, headers={"Idempotency-Key": key}) as answer:
                if answer.status == 409:
                    return None
                if answer.status >= 500 or answer.status == 429:
                    raise Transient(f"the inventory answered {answer.status}")
                if answer.status >= 400:
                    raise Permanent(f"the inventory rejected the request: {answer.status} {await answer.text()}")
                found: dict[str, Any] = await answer.json()
                return found
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Transient(f"the inventory at {self.url} cannot be reached: {type(error).__name__}") from error
