"""The outside world of the plan: the inventory over HTTP, a catalogue of courses, and what the onboarding has."""

import os
from collections.abc import Mapping

from saga_app.service import World
from saga_app.service.onboarding_world import make_world as make_onboarding_world
from saga_app.settings import Settings
from training.stock import HttpStock

#: Where the inventory answers, if the environment does not say otherwise.
INVENTORY = "http://127.0.0.1:8099"

CATALOGUE = {
    "Engineering": "Secure coding",
    "Sales": "Customer conversations",
    "Finance": "Anti-money-laundering",
    "People": "Labour law",
    "Support": "Calm under pressure",
}


class CourseCatalogue:
    """Courses by department. It keeps no bookings: the same key books the same course."""

    def __init__(self, courses: Mapping[str, str]) -> None:
        self.courses = courses

    async def book(self, key: str, department: str) -> str | None:
        """The department's course, if it has one."""
        return self.courses.get(department)

    async def cancel(self, key: str) -> None:
        """Nothing to do."""


class TrainingWorld(World):
    """What the steps of the plan use; see `training.adapters`."""

    def __init__(self, settings: Settings, inventory: str) -> None:
        super().__init__(seed=settings.seed)
        self.onboarding = make_onboarding_world(settings)
        self.policy, self.mail = self.onboarding.policy, self.onboarding.mail
        self.stock, self.courses = HttpStock(inventory), CourseCatalogue(CATALOGUE)

    async def close(self) -> None:
        """Close the connections to the inventory and to the mail server."""
        await self.stock.close()
        await self.onboarding.close()


def make_world(settings: Settings) -> TrainingWorld:
    """The adapters. `TRAINING_INVENTORY` is the URL of the inventory."""
    return TrainingWorld(settings, os.environ.get("TRAINING_INVENTORY", INVENTORY))
