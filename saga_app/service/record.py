"""The interfaces of the stream layer that services use: fetched records, and outputs to send."""

from collections.abc import Sequence
from typing import Any, Protocol

Headers = Sequence[tuple[str, bytes]]

#: Kafka's timestamp type for LogAppendTime: the broker set the timestamp when it appended the record.
LOG_APPEND_TIME = 1

#: The header of a republished request: the number of the attempt that is due. See memory/delayed_requests.py.
RETRY_ATTEMPT = "retry-attempt"


class Outputs(Protocol):
    """Sends outputs of a record. The record is finished only when all of them are acknowledged."""

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None) -> None: ...
    async def acknowledged(self) -> None: ...


class Record(Protocol):
    """A fetched record."""

    topic: str
    partition: int
    offset: int
    timestamp: int  #: milliseconds since 1970, unchecked: see `times.record_time`
    timestamp_type: int  #: 1 (LOG_APPEND_TIME) if the broker has set the timestamp
    key: bytes | None
    value: bytes | None
    headers: Headers
