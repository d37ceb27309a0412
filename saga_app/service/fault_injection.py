"""Injected lag and faults for demonstrations and tests, active only if a setting requests them.

The random numbers are derived from seed, saga, step, purpose and attempt, so a redelivered request has the same fault.
"""

from dataclasses import dataclass

from saga_app.saga.messages import Message
from saga_app.saga.plan import Denied, Outcome, Step
from saga_app.saga.retry import Permanent, Transient
from saga_app.service.attempts import Attempts
from saga_app.service.job import Job
from saga_app.service.memory.effects import Effects
from saga_app.service.world import World
from saga_app.settings import Settings
from saga_app.stream.consume.eager import Eager


@dataclass(slots=True)
class FaultInjection:
    """The range of the lag of a step (seconds), and the rates of its faults (from 0 to 1)."""

    lag: tuple[float, float] = (0.0, 0.0)
    flaky: float = 0.0  #: an attempt fails, and a retry may succeed
    error: float = 0.0  #: the step fails permanently
    deny: float = 0.0  #: the step is denied

    @classmethod
    def of(cls, settings: Settings) -> "FaultInjection | None":
        """The faults that the settings request, or None."""
        faults = cls(
            (settings.lag.least, settings.lag.most), settings.flaky_rate, settings.error_rate, settings.deny_rate
        )
        return None if faults == cls() else faults

    def lag_s(self, world: World, step: Step, request: Message, attempt: int) -> float:
        """The lag of this attempt before it acts, in seconds."""
        least, most = self.lag
        if not (step.lag and most):
            return 0.0
        return least + (most - least) * world.dice(request.key(step.name), "lag", _number(request, attempt))

    def fault(self, world: World, step: Step, request: Message, attempt: int) -> Denied | None:
        """The denial injected into this attempt, or None. Raises `Permanent` or `Transient` for an injected failure.

        A redriven request has other random numbers, so that it can succeed after a permanent failure.
        """
        if not step.lag:
            return None
        key, redriven = request.key(step.name), request.attempt - 1
        if self.error and world.dice(key, "error", redriven) < self.error:
            raise Permanent(f"the mock {step.service} fails permanently (SAGA_ERROR_RATE)")
        if self.flaky and world.dice(key, "flaky", _number(request, attempt)) < self.flaky:
            raise Transient(f"the mock {step.service} did not answer (SAGA_FLAKY_RATE)")
        compensates = request.slip is not None and request.slip.undoing
        if self.deny and not compensates and world.dice(key, "deny") < self.deny:
            return Denied(f"the mock {step.service} denies it (SAGA_DENY_RATE)")
        return None


class FaultyAttempts(Attempts):
    """Attempts with injected lag and faults."""

    def __init__(self, step: Step, world: World, effects: Effects | None, faults: FaultInjection) -> None:
        super().__init__(step, world, effects)
        self.faults = faults

    def lag(self, job: Job) -> float:
        """The lag of the attempt before it acts, in seconds; 0 if it has passed."""
        now = job.progress
        return 0.0 if now.ready else self.faults.lag_s(self.world, self.step, job.request, now.attempt)

    def start(self, request: Message, number: int) -> Eager[Outcome]:
        """Call the step, or return or raise the injected fault instead."""
        fault = self.faults.fault(self.world, self.step, request, number)
        return super().start(request, number) if fault is None else Eager(_denied(fault))


async def _denied(fault: Denied) -> Outcome:
    return fault


def _number(request: Message, attempt: int) -> int:
    """A number that is unique among all attempts of a step, including those of redrives."""
    return (request.attempt - 1) * 1000 + attempt
