"""The interfaces of the stream layer that services use: fetched records, and outputs to send."""

from typing import Any, Protocol

from saga_app.saga import record

Headers = record.Headers

#: Kafka's timestamp type for LogAppendTime: the broker set the timestamp when it appended the record.
LOG_APPEND_TIME = 1

#: The header of a republished request: the number of the attempt that is due. See memory/delayed_requests.py.
RETRY_ATTEMPT = "retry-attempt"


class Outputs(Protocol):
    """Sends outputs of a record. The record is finished only when all of them are acknowledged."""

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None, partition: int | None = None
    ) -> None: ...
    async def acknowledged(self) -> None: ...


class Record(record.Record, Protocol):
    """A record as a step gets it."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def timestamp_type(self) -> int:
        """1 (`LOG_APPEND_TIME`) if the broker has set the timestamp."""
