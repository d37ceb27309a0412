"""The memory of a service that does not start the sagas: its table `effects`."""

from contextlib import suppress
from datetime import datetime

from saga_app.saga.decisions import ABSORB, ACT, Decision, End, Next, Repeat
from saga_app.saga.messages import Answer
from saga_app.saga.messages import Effects as Remembered
from saga_app.saga.plan import Done, Plan, Step
from saga_app.service.job import Job, Progress
from saga_app.service.memory import delayed_requests
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.memory import Memory
from saga_app.service.world import World
from saga_app.stream import Refused, RetryLater


class EffectsMemory(Memory):
    """Recorded results, intent records, tombstones and delayed requests of one step."""

    def __init__(self, plan: Plan, step: Step, effects: Effects, world: World) -> None:
        self.step, self.effects, self.world = step, effects, world
        self.compensated = [compensated.name for compensated in plan.compensated_by(step.topic)]
        self.recorded = [name for name in self.compensated if _is_recorded(plan.step_named(name), world)]
        self.is_recorded = _is_recorded(step, world)
        self.needs_intent = self.is_recorded and step.undo is not None

    def decide(self, job: Job) -> Decision:
        """Absorb a duplicate, repeat a recorded result, or act.

        Raises `BadMessage` if the row is unreadable, because acting without it could repeat an effect.
        """
        remembered, name = self.effects.get(*job.place), self.step.name
        job.recalled = remembered
        if name in remembered.undone:
            return ABSORB
        if answer := remembered.answers.get(name):  # the next request may not have been sent
            return Repeat(answer)
        entry = remembered.waiting.get(name)
        decision = delayed_requests.decide(entry, job.headers, job.request)
        if decision is delayed_requests.Decision.ABSORB:
            return ABSORB
        if entry is not None and decision is delayed_requests.Decision.RESUME and job.progress.started_at is None:
            job.progress = delayed_requests.progress(entry)
        return ACT

    async def begin_compensation(self, job: Job) -> None:
        """Write tombstones, and wait for them: the request of a step may be read after that of its compensation."""
        for name in self.compensated:
            self.effects.record_tombstone(job.outputs, *job.place, name)
        await job.outputs.acknowledged()

    def unneeded(self, job: Job) -> Done | None:
        """The result of a compensation, if the table shows that none of its recorded steps has acted."""
        if not self.recorded:
            return None
        remembered = self.effects.get(*job.place)
        if any(may_have_acted(remembered, name) for name in self.recorded):
            return None
        return Done(remark=f"nothing to compensate: {', '.join(self.recorded)} was not done")

    async def record_intent(self, job: Job) -> None:
        """Record that a run of attempts begins.

        If the worker crashes during the step, the intent record shows its compensation that the step may have acted.
        """
        self.effects.record_intent(job.outputs, *job.place, self.step.name)
        await job.outputs.acknowledged()
        job.progress.begun = True

    async def record_result(self, job: Job, answer: Answer) -> None:
        """Record the result before anything follows from it, because a repeated call could have another result."""
        job.waits()
        self.effects.record_result(job.outputs, *job.place, self.step.name, answer)
        await job.outputs.acknowledged()

    def can_delay(self, job: Job) -> bool:
        """Whether the delay before the next attempt is so long that its record would hold back commits."""
        return self.step.retry.leaves(job.progress.attempt)

    async def delay(self, job: Job, later: RetryLater) -> None:
        """Store a request in the table until its next attempt is due.

        The signal that reports the failed attempt must be acknowledged first: after the request is stored, a redelivery
        is ignored as a duplicate, and does not send the signal again. If the broker refuses the signal, the request is
        delayed nevertheless; if the changelog refuses the row, the request is parked.
        """
        progress: Progress = later.state
        with suppress(Refused):
            await job.outputs.acknowledged()
        entry = delayed_requests.entry(job.record, job.request, progress, self.world.clock() + later.seconds)
        had_no_effect = progress.begun and progress.certain
        self.effects.record_delayed_request(job.outputs, *job.place, self.step.name, entry, had_no_effect)

    def has_delayed_request(self, job: Job) -> bool:
        """Whether the request is stored until its next attempt."""
        remembered = job.recalled or self.effects.get(*job.place)
        return self.step.name in remembered.waiting

    async def remove_delayed_request(self, job: Job, had_no_effect: bool = False) -> None:
        """Remove the stored request, if any, after all other outputs are acknowledged.

        Until then a redelivery of the request needs it. `had_no_effect`: the attempts certainly had no effect, so that
        the intent record is removed as well.
        """
        if had_no_effect or self.has_delayed_request(job):
            await job.outputs.acknowledged()
            self.effects.remove_delayed_request(job.outputs, *job.place, self.step.name, had_no_effect)

    def advance(self, job: Job, after: Next | End, at: datetime) -> bool:
        """Nothing to write: only the initiator keeps the rows."""
        return True


def _is_recorded(step: Step | None, world: World) -> bool:
    """Whether the result of a step is recorded: not if its external system recognises a repeated call."""
    return step is not None and step.recorded and not world.is_idempotent(step.name)


def may_have_acted(remembered: Remembered, step: str) -> bool:
    """Whether a step with recorded results was done, or began without a recorded result."""
    answer = remembered.answers.get(step)
    return step in remembered.begun if answer is None else answer.visit.outcome == "done"
