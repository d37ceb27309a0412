"""The interfaces that the steps of the plan call.

Each call carries an idempotency key: repeated with the same key, it has the same effect and result. A call raises
`Transient` or `Permanent` only if the result could not be determined.
"""

from typing import Protocol

from saga_app.saga.world import Mail, Policy


class DeviceStock(Protocol):
    """The inventory of devices."""

    async def reserve(self, key: str, department: str) -> str | None:
        """Reserve a device. Returns its id, or None if none is left."""

    async def release(self, key: str) -> None:
        """Return the device that was reserved with this key, if any."""


class Courses(Protocol):
    """The course catalogue."""

    async def book(self, key: str, department: str) -> str | None:
        """Book a course. Returns its name, or None if the department has none."""

    async def cancel(self, key: str) -> None:
        """Cancel the booking of this key, if any."""


class TrainingAdapters(Protocol):
    """All interfaces of the plan."""

    @property
    def stock(self) -> DeviceStock: ...
    @property
    def courses(self) -> Courses: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def mail(self) -> Mail: ...
    def now(self) -> str:
        """The current time in UTC, as ISO 8601."""
