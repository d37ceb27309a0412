"""Decodes the requests to a step, and determines when a saga was requested."""

from collections.abc import Container
from datetime import datetime

from saga_app.saga import admission
from saga_app.saga.codec import decode_request
from saga_app.saga.messages import Message
from saga_app.saga.plan import Plan
from saga_app.saga.times import record_time, utc
from saga_app.service.kafka.broker_clock import BrokerClock
from saga_app.service.record import LOG_APPEND_TIME, Headers, Record


class RequestReader:
    """Reads the records of one step.

    `is_first_step`: its requests start sagas. `is_initiator`: this service keeps the rows, and corrects implausible
    start times. `broker_clock`: the offset between the broker's clock and the local one; without it, 0. `other_topics`:
    the topics of the cluster, for sagas that began with another plan.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        is_first_step: bool,
        is_initiator: bool,
        broker_clock: BrokerClock | None,
        other_topics: Container[str],
    ) -> None:
        self.plan, self.is_first_step, self.is_initiator = plan, is_first_step, is_initiator
        self.broker_clock, self.other_topics = broker_clock, other_topics

    @property
    def knows_start(self) -> bool:
        """Whether the start of a new saga can be determined. It cannot until the broker's clock was measured."""
        return not self.is_first_step or self.broker_clock is None or self.broker_clock.known

    def read(self, record: Record, headers: Headers, now: datetime) -> Message:
        """Decode and validate a request. `now`: when this worker received it. Raises `BadMessage`."""
        message = decode_request(record.value, headers)
        requested_at = self.requested_at(record, now) if self.is_first_step else now
        request = admission.admit(self.plan, record.topic, message, requested_at, self.other_topics)
        return admission.with_plausible_start(request, now) if self.is_initiator else request

    def requested_at(self, record: Record, now: datetime) -> datetime:
        """When a client requested the saga: the record's timestamp, converted to the local clock, at most `now`.

        The duration of a saga therefore includes the time that its request waited in the topic.
        """
        clock = self.broker_clock
        if clock is None or record.timestamp_type != LOG_APPEND_TIME:
            return utc(record_time(record.timestamp, now.timestamp()))
        return utc(record_time(record.timestamp, now.timestamp(), clock.ahead_s)) if clock.known else now
