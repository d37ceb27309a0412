"""The adapters of the plan: the inventory over HTTP, a course catalogue, and the adapters of the onboarding."""

import os
from collections.abc import Mapping

from saga_app.service import World
from saga_app.service.onboarding_world import make_world as make_onboarding_world
from saga_app.settings import Settings
from training.stock import HttpStock

#: The URL of the inventory unless `TRAINING_INVENTORY` is set.
DEFAULT_INVENTORY_URL = "http://127.0.0.1:8099"

CATALOGUE = {
    "Engineering": "Secure coding",
    "Sales": "Customer conversations",
    "Finance": "Anti-money-laundering",
    "People": "Labour law",
    "Support": "Calm under pressure",
}


class CourseCatalogue:
    """A course for each department. It stores no bookings: the department determines the course."""

    def __init__(self, courses: Mapping[str, str]) -> None:
        self.courses = courses

    async def book(self, key: str, department: str) -> str | None:
        """The department's course; None if it has none."""
        return self.courses.get(department)

    async def cancel(self, key: str) -> None:
        """Do nothing: bookings are not stored."""


class TrainingWorld(World):
    """Implements `TrainingAdapters`."""

    def __init__(self, settings: Settings, inventory_url: str) -> None:
        super().__init__(seed=settings.seed)
        self.onboarding = make_onboarding_world(settings)
        self.policy, self.mail = self.onboarding.policy, self.onboarding.mail
        self.stock, self.courses = HttpStock(inventory_url), CourseCatalogue(CATALOGUE)

    async def close(self) -> None:
        """Close the connections to the inventory and to the mail server."""
        await self.stock.close()
        await self.onboarding.close()


def make_world(settings: Settings) -> TrainingWorld:
    """Create the adapters. The environment variable `TRAINING_INVENTORY` is the URL of the inventory."""
    return TrainingWorld(settings, os.environ.get("TRAINING_INVENTORY", DEFAULT_INVENTORY_URL))
