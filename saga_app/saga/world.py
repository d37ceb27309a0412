"""The outside world as the steps of the onboarding see it; `service/world.py` has the mocks and the real ones.

Every call carries an idempotency key: with the same key the effect happens once, however often it is asked for.
A call raises `retry.Transient` or `retry.Permanent` only when it could not find out.
"""

from typing import Protocol


class Stock(Protocol):
    """Devices."""

    async def assign(self, key: str, department: str) -> str:
        """The id of a device for this department; the same one for the same key."""

    async def take_back(self, key: str, device_id: str | None) -> None:
        """What was assigned with this key is free again; nothing happens if it was. The id may not be known."""


class Policy(Protocol):
    """What a department may use."""

    async def grant(self, key: str, department: str) -> list[str] | None:
        """The authorizations granted, the same for the same key, or None when the department has no policy."""

    async def revoke(self, key: str) -> None:
        """Nothing is granted any more."""


class Mail(Protocol):
    """E-mail to users."""

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        """Send once per key; returns why it was refused for good, or None."""

    async def close(self) -> None:
        """No more mails."""


class World(Protocol):
    """All that a step of the onboarding may touch."""

    @property
    def stock(self) -> Stock: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def mail(self) -> Mail: ...
    def now(self) -> str:
        """The time, ISO 8601 UTC."""
