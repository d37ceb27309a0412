"""Processes the records of a run together, stage by stage:

    decode ──▶ lock ──▶ recall, decide ──▶ act ──▶ conclude ──▶ write the row ──▶ send the next request

Each stage is done for all records before the next one begins. Done record by record, the same work takes 1.6 times
as long: the code and data of a stage have left the processor's caches when the next record needs them
(docs/decisions/0023).

A record that may have to wait leaves the run before its step acts, and is processed alone (`StepLoop.handle`). If an
attempt has to wait unexpectedly, the records after it leave the run, and those before it are finished without it.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from saga_app.service.dead_letters import PROGRAMMING_ERRORS, GaveUp
from saga_app.service.job import Found, Job
from saga_app.stream import Refused, RetryLater
from saga_app.stream.consume.eager import Eager
from saga_app.stream.consume.run import Run
from saga_app.stream.table.key_lock import KeyLock

if TYPE_CHECKING:
    from saga_app.service.step import StepLoop

#: Does its part for a job; returns whether the job continues with the next stage.
Stage = Callable[[Job], bool]


class StepRun:
    """One run of one step."""

    def __init__(self, loop: "StepLoop", run: Run) -> None:
        self.loop, self.run = loop, run
        self.locks: dict[Job, KeyLock] = {}  #: of the sagas that this run has locked
        self.failed: dict[Job, Found] = {}
        self.waiting: tuple[Job, Eager[Found]] | None = None  #: the attempt that has to wait

    async def handle(self) -> None:
        """Process the run."""
        if not self.loop.may_run:
            for number, item in enumerate(self.run.items):
                self.run.leave(number, item.state)
            return
        try:
            self.process()
            await self.finish_failed()
            if self.waiting is not None:  # last, because from now on the rest has to unlock its saga
                job, attempt = self.waiting
                self.run.wait_for(job.number, partial(self.loop.finish_waiting, job, attempt, self.locks.pop(job)))
        finally:
            self.unlock_all()

    def process(self) -> None:
        """All stages. Afterwards everything is done for the jobs that need not wait."""
        loop = self.loop
        jobs = self.decode()
        for stage in (
            self.is_placed,
            self.lock,
            loop.must_act,
            self.need_not_wait,
            self.act,
            self.conclude,
            loop.advance,
            loop.send_on,
        ):
            jobs = self.through(stage, jobs)

    def through(self, stage: Stage, jobs: Iterable[Job]) -> list[Job]:
        """The jobs that continue after a stage."""
        outputs, kept = self.run.outputs, []
        for job in jobs:
            outputs.origin = job.number
            try:
                if stage(job):
                    kept.append(job)
            except PROGRAMMING_ERRORS as error:
                self.loop.park_after_bug(job, error)
        return kept

    def decode(self) -> list[Job]:
        """The readable requests."""
        outputs, jobs = self.run.outputs, []
        for number, item in enumerate(self.run.items):
            outputs.origin = number
            job = self.loop.read(outputs, item.record, item.state, number)
            if job is not None:
                jobs.append(job)
        return jobs

    def is_placed(self, job: Job) -> bool:
        """Whether a record is on the partition of its saga."""
        return not self.loop.is_forwarded(job)

    def lock(self, job: Job) -> bool:
        """Lock a saga. If it is locked, also by an earlier record of this run, the record leaves the run."""
        lock = self.loop.lock(job)
        if lock.take():
            self.locks[job] = lock
            return True
        self.run.leave(job.number, job.progress)
        return False

    def need_not_wait(self, job: Job) -> bool:
        """Whether the step can act at once. It cannot if it has a lag, or if its request is stored for this attempt."""
        if self.loop.memory.has_delayed_request(job):
            self.leave(job)
            return False
        lag = self.loop.lag(job)
        if lag is not None:
            self.run.retry(job.number, lag)
        return lag is None

    def act(self, job: Job) -> bool:
        """Make an attempt. If one has to wait, the records after it leave the run, so that none waits for another."""
        if self.waiting is not None:
            self.leave(job)
            return False
        attempt = self.loop.act(job)
        if attempt.waits:
            self.waiting = job, attempt
            return False
        job.found = attempt.result
        return True

    def conclude(self, job: Job) -> bool:
        """Decide where the saga goes; False if it goes nowhere, because the attempt failed."""
        found = job.found
        assert found is not None
        if isinstance(found, (RetryLater, GaveUp)):
            self.failed[job] = found
            return False
        return self.loop.conclude(job, self.loop.answer(job, found))

    async def finish_failed(self) -> None:
        """Finish the jobs whose attempts failed. It may have to wait until a delayed request can be stored."""
        waiting = self.waiting[0] if self.waiting is not None else None
        for job in [job for job in self.locks if job not in self.failed and job is not waiting]:
            self.unlock(job)
        for job, found in self.failed.items():
            self.run.outputs.origin = job.number
            with suppress(Refused):  # `outputs.refusals` has it
                if later := await self.loop.guarded(job, self.loop.finish(job, found)):
                    self.run.retry(job.number, later)
            self.unlock(job)

    def leave(self, job: Job) -> None:
        """Let a job be processed alone, where its saga is locked again."""
        self.run.leave(job.number, job.progress)
        self.unlock(job)

    def unlock(self, job: Job) -> None:
        """Unlock the saga of a job."""
        self.locks.pop(job).release()

    def unlock_all(self) -> None:
        """Unlock all sagas."""
        for job in [*self.locks]:
            self.unlock(job)
