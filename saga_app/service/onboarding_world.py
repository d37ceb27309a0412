"""The external systems of the onboarding: mocks of device stock and policy, and e-mail to the log or over SMTP."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from time import time

import structlog

from saga_app.saga.world import Mail, Policy, Stock
from saga_app.service import policy as policy_
from saga_app.service.mail.smtp_mail import SmtpMail
from saga_app.service.policy import Department
from saga_app.service.world import World
from saga_app.settings import Settings

log = structlog.get_logger()


#: The steps that send an e-mail.
MAIL_STEPS = frozenset({"notify", "retract"})


class OnboardingWorld(World):
    """The external systems of the onboarding; see `saga_app.saga.world` for their interfaces."""

    def __init__(
        self, stock: Stock, policy: Policy, mail: Mail, seed: int = 0, clock: Callable[[], float] = time
    ) -> None:
        super().__init__(seed=seed, clock=clock)
        self.stock, self.policy, self.mail = stock, policy, mail

    def is_idempotent(self, step: str) -> bool:
        """Whether the mailer is, for the steps that send an e-mail."""
        return step in MAIL_STEPS and self.mail.is_idempotent

    async def close(self) -> None:
        """Close the connections to the mail server."""
        await self.mail.close()


def make_world(settings: Settings) -> OnboardingWorld:
    """Create the external systems from the settings. Ends the process if the policy file is invalid."""
    departments = policy_.load(settings.policy)
    mail = LogMail() if settings.mail.scheme == "log" else SmtpMail.at(settings.mail)
    return OnboardingWorld(MockStock(departments), FilePolicy(departments), mail, settings.seed)


class MockStock:
    """An unlimited stock of devices. The device id is a hash of the key, so the same key gets the same device."""

    def __init__(self, departments: Mapping[str, Department]) -> None:
        self.departments = departments

    async def assign(self, key: str, department: str) -> str:
        model = self.departments[department].device if department in self.departments else "PC"
        return f"{model}-{blake2b(key.encode(), digest_size=5).hexdigest().upper()}"

    async def take_back(self, key: str, device_id: str | None) -> None:
        """Nothing to do: the stock keeps no record of assigned devices."""


class FilePolicy:
    """Grants the authorizations in the policy file. It keeps no record of grants, so there is nothing to revoke."""

    def __init__(self, departments: Mapping[str, Department]) -> None:
        self.departments = departments

    async def grant(self, key: str, department: str) -> list[str] | None:
        found = self.departments.get(department)
        return found.authorizations if found else None

    async def revoke(self, key: str) -> None:
        """Nothing to do."""


class LogMail:
    """Logs each e-mail instead of sending it, at debug level because it contains personal data."""

    is_idempotent = True  # a second line in the log does no harm

    def __init__(self) -> None:
        self.log = log.bind()  # bound once, see `StepLoop`

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        self.log.debug("mail", idempotency_key=key, to=to, subject=subject, text=text)
        return None

    async def close(self) -> None:
        """Nothing to close."""
