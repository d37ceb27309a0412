"""The outside world behind the steps: clock, lag, dice, stock, policy, mail. Mocks by default, real ones by setting.

The mock dice are a hash of (seed, saga, step, what for, attempt): a redelivered message falls the same way, and a test
can choose how it falls.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from time import time

import structlog

from saga_app.saga.messages import Message
from saga_app.saga.plan import Denied, Step
from saga_app.saga.retry import Permanent, Transient
from saga_app.saga.times import iso
from saga_app.saga.world import Mail, Policy, Stock
from saga_app.service.policy import Department

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FaultInjection:
    """How the mock world behaves: seconds of lag from-to, and rates between 0 and 1."""

    lag: tuple[float, float] = (0.0, 0.0)
    flaky: float = 0.0
    error: float = 0.0
    deny: float = 0.0


#: The world behaves.
NONE = FaultInjection()


class World:
    """Everything that a step and its loop ask of the outside."""

    def __init__(
        self,
        stock: Stock,
        policy: Policy,
        mail: Mail,
        faults: FaultInjection = FaultInjection(),
        seed: int = 0,
        clock: Callable[[], float] = time,
    ) -> None:
        self.stock, self.policy, self.mail = stock, policy, mail
        self.faults, self.seed = faults, seed
        self.clock = clock
        self.behaves = faults == NONE  #: Nothing need be pretended.

    async def close(self) -> None:
        """Nothing more will be asked of it."""
        await self.mail.close()

    def now(self) -> str:
        """The time, ISO 8601 UTC with milliseconds."""
        return iso(self.clock())

    def dice(self, key: str, purpose: str, attempt: int = 0) -> float:
        """Between 0 and 1, always the same for the same question."""
        question = f"{self.seed}:{key}:{purpose}:{attempt}".encode()
        return int.from_bytes(blake2b(question, digest_size=6).digest()) / 2**48

    def lag(self, step: Step, request: Message, attempt: int) -> float:
        """How long the mock world takes for an attempt, in seconds."""
        least, most = self.faults.lag
        if not (step.lag and most):
            return 0.0
        return least + (most - least) * self.dice(request.key(step.name), "lag", _since_the_first(request, attempt))

    def pretend(self, step: Step, request: Message, attempt: int) -> Denied | None:
        """The mock world's part in an attempt: at the rates set it says no, or fails. Raises Permanent and Transient.

        The dice fall anew when a saga is redriven: what has failed for good may work then.
        """
        faults = self.faults
        if not step.lag:
            return None
        key, redriven = request.key(step.name), request.attempt - 1
        attempt = _since_the_first(request, attempt)
        if faults.error and self.dice(key, "error", redriven) < faults.error:
            raise Permanent(f"the mock {step.service} fails for good (SAGA_ERROR_RATE)")
        if faults.flaky and self.dice(key, "flaky", attempt) < faults.flaky:
            raise Transient(f"the mock {step.service} did not answer (SAGA_FLAKY_RATE)")
        undoing = request.slip is not None and request.slip.undoing
        if faults.deny and not undoing and self.dice(key, "deny") < faults.deny:
            return Denied(f"the mock {step.service} says no (SAGA_DENY_RATE)")
        return None


def _since_the_first(request: Message, attempt: int) -> int:
    """A number for an attempt that no other of this saga at this step has, redriven or not."""
    return (request.attempt - 1) * 1000 + attempt


class MockStock:
    """Devices without end; the id follows from the key, so the same key gets the same device."""

    def __init__(self, departments: Mapping[str, Department]) -> None:
        self.departments = departments

    async def assign(self, key: str, department: str) -> str:
        model = self.departments[department].device if department in self.departments else "PC"
        return f"{model}-{blake2b(key.encode(), digest_size=5).hexdigest().upper()}"

    async def take_back(self, key: str, device_id: str | None) -> None:
        """Nothing to do: a device that is not assigned is free."""


class FilePolicy:
    """Grants what the policy file says; it keeps no accounts, so there is nothing to take away."""

    def __init__(self, departments: Mapping[str, Department]) -> None:
        self.departments = departments

    async def grant(self, key: str, department: str) -> list[str] | None:
        found = self.departments.get(department)
        return found.authorizations if found else None

    async def revoke(self, key: str) -> None:
        """Nothing is granted any more."""


class LogMail:
    """Logs the mail that would have gone out, at debug level, because it holds personal data."""

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        log.debug("mail", idempotency_key=key, to=to, subject=subject, text=text)
        return None

    async def close(self) -> None:
        """There is nothing to close."""
