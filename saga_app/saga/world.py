"""Interfaces of the external systems that the onboarding uses; `service/onboarding_world.py` implements them.

Every call has an idempotency key: calls with the same key have one effect. A call raises `retry.Transient` or
`retry.Permanent` only if it could not determine the result.
"""

from datetime import datetime
from typing import Protocol


class Stock(Protocol):
    """The stock of devices."""

    async def assign(self, key: str, department: str) -> str:
        """Assign a device to this department and return its id; the same device for the same key."""

    async def take_back(self, key: str, device_id: str | None) -> None:
        """Return the device that was assigned with this key, if any. `device_id` is None if it is not known."""


class Policy(Protocol):
    """The authorizations of each department."""

    async def grant(self, key: str, department: str) -> list[str] | None:
        """Grant and return the authorizations, the same for the same key; None if the department has no policy."""

    async def revoke(self, key: str) -> None:
        """Revoke everything that was granted with this key."""


class Mail(Protocol):
    """E-mail to users."""

    @property
    def is_idempotent(self) -> bool:
        """Whether a second mail with the same key does no harm."""

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        """Send one mail per key. Returns the reason if the mail was permanently refused, otherwise None."""

    async def close(self) -> None:
        """Close all connections."""


class World(Protocol):
    """All external systems of the onboarding, and the clock."""

    @property
    def stock(self) -> Stock: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def mail(self) -> Mail: ...
    def now(self) -> datetime:
        """The current time (UTC)."""
