"""The memory of the service that starts the sagas: the saga rows."""

from datetime import datetime

import structlog

from saga_app.saga import machine, saga_row
from saga_app.saga.codec import replace_fields
from saga_app.saga.decisions import ABSORB, ACT, Decision, End, Next
from saga_app.saga.messages import Message, Row
from saga_app.saga.plan import Plan, Step
from saga_app.service import metrics
from saga_app.service.job import Job
from saga_app.service.memory.memory import Memory
from saga_app.service.memory.rows import Rows
from saga_app.service.record import Record
from saga_app.service.request_reader import RequestReader
from saga_app.service.world import World

log = structlog.get_logger()


class InitiatorMemory(Memory):
    """The saga rows, as one step of the initiator needs them."""

    def __init__(self, plan: Plan, step: Step, rows: Rows, world: World) -> None:
        self.plan, self.step, self.rows, self.world = plan, step, rows, world
        self.is_first_step = step is plan.steps[0]

    def decide(self, job: Job) -> Decision:
        """Judge a request by the row of its saga."""
        row = job.recalled = self.rows.get(*job.place)
        if row is None:
            return ACT
        if self.is_first_step and is_second_request(row, job.request, job.record):
            report_second_request(row, job)
            return ABSORB
        decision = machine.decide(self.plan, row, job.request)
        if decision is ACT and self.is_first_step:
            job.request.started_at = row.started_at  # the start does not change when the record is redelivered
        return decision

    async def begin_compensation(self, job: Job) -> None:
        """Write that the saga rolls back, and wait for it: the row takes the place of tombstones."""
        self.waits(job)
        await job.outputs.acknowledged()

    def waits(self, job: Job) -> None:
        """Write that the saga waits for this step."""
        news = saga_row.row_waiting_for(self.plan, job.record.topic, job.request, self.world.now())
        self.rows.join(job.outputs, job.record.partition, self.with_origin(news, job.record))

    async def correct_start(self, job: Job, reader: RequestReader) -> None:
        """Set the start of a saga while the difference to the broker's clock is unknown, as it is when a worker starts.

        The timestamp in the acknowledgement of the row shows the difference. Until then the current time counts as the
        start, so that the saga cannot be overdue; then the time that its request waited in the topic is added.
        """
        self.waits(job)
        await job.outputs.acknowledged()
        row = self.rows.get(*job.place)
        started_at = reader.requested_at(job.record, job.progress.received_at)
        if row and started_at < row.started_at:
            changed = replace_fields(row, started_at=started_at)
            self.rows.write_if_changed(job.outputs, job.record.partition, row, changed)
            job.request.started_at = started_at

    def advance(self, job: Job, after: Next | End, at: datetime) -> bool:
        """Write the row of a saga that waits for its next step or has ended. False if an operator has cancelled it."""
        row = self.rows.get(*job.place) if job.run_at is None else job.recalled
        if row is not None and was_cancelled(row, job.request):
            return False
        if isinstance(after, Next):
            news = saga_row.row_waiting_for(self.plan, after.topic, after.message, at)
        else:
            news = saga_row.row_ended(after, at)
        self.rows.advance(job.outputs, job.record.partition, row, self.with_origin(news, job.record))
        return True

    def with_origin(self, news: Row, record: Record) -> Row:
        """The row, with the position of this record as its origin if the record started the saga."""
        if self.is_first_step:
            news.origin = origin(record)
        return news

    def known_next(self, job: Job) -> Next | None:
        """The next request of a saga whose row is one step past this request; None otherwise."""
        row = self.rows.get(*job.place)
        return machine.resume_after(self.plan, row, job.request) if row else None


def origin(record: Record) -> tuple[int, int]:
    """Partition and offset of the record that started a saga."""
    return record.partition, record.offset


def was_cancelled(row: Row, request: Message) -> bool:
    """Whether an operator cancelled the saga while the step acted. Its compensation is requested already."""
    return saga_row.is_rolling_back(row) and not machine.is_compensating(request)


def is_second_request(row: Row, request: Message, record: Record) -> bool:
    """Whether a request on the first topic is a second one for an existing saga, which is ignored.

    It counts as a second one if its user differs from that of the row, or if it is a first attempt in another record
    than the one that started the saga. A row created from a dead letter does not know that record. A later attempt is a
    redrive of the same saga.
    """
    if request.user != row.user:
        return True
    return request.attempt == 1 and row.origin is not None and row.origin != origin(record)


def report_second_request(row: Row, job: Job) -> None:
    """Count and log a second request for an existing saga."""
    same = (job.request.user, job.request.idempotency) == (row.user, row.idempotency)
    reason = "repeated" if same else "id-taken"
    metrics.SECOND_REQUESTS.labels(reason).inc()
    # Producers without idempotence repeat many requests; only a request after a rollback needs attention.
    report = log.debug if same and row.state in ("running", "completed") else log.info
    place = {"partition": job.record.partition, "offset": job.record.offset}
    report("second request ignored", saga=row.id, reason=reason, state=row.state, **place)
