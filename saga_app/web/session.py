"""The session cookie of a browser that has signed in with the token, because EventSource and links cannot send headers.

The cookie holds an expiry time and a signature whose key is derived from the token. Every console with the same token
accepts it, also after a restart, and changing the token ends all sessions.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from functools import cached_property
from time import time

from pydantic import SecretStr

COOKIE = "saga_session"

#: The lifetime of a session: about a working day (seconds).
LIFETIME_S = 12 * 3600


class Sessions:
    """Issues and verifies session cookies."""

    def __init__(self, token: SecretStr, clock: Callable[[], float] = time) -> None:
        self._token, self._clock = token, clock

    @cached_property
    def _key(self) -> bytes:
        """Slow to compute (about 50 ms), to slow down guessing a short token from a stolen cookie."""
        return hashlib.scrypt(self._token.get_secret_value().encode(), salt=b"saga session", n=2**14, r=8, p=1)

    def issue(self) -> str:
        """A cookie value that is valid for `LIFETIME_S` seconds."""
        content = f"{int(self._clock()) + LIFETIME_S}.{secrets.token_hex(8)}"
        return f"{content}.{self._signature(content)}"

    def is_valid(self, value: str) -> bool:
        """Whether the value was issued for this token and has not expired."""
        content, _, signature = value.rpartition(".")
        if not hmac.compare_digest(signature.encode(errors="replace"), self._signature(content).encode()):
            return False
        return int(content.partition(".")[0]) > self._clock()

    def _signature(self, content: str) -> str:
        return hmac.digest(self._key, content.encode(errors="replace"), "sha256").hex()
