"""What the services need of the stream layer: a record as it was fetched, and a receipt to send with."""

from collections.abc import Sequence
from typing import Any, Protocol

Headers = Sequence[tuple[str, bytes]]

#: Kafka's number for a timestamp that the broker has set when it appended the record.
LOG_APPEND_TIME = 1

#: The header of a request that was published again: the number of the attempt that is due. See waiting.py.
RETRY_ATTEMPT = "retry-attempt"


class Outputs(Protocol):
    """Everything sent with it is acknowledged before the record counts as done."""

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None) -> None: ...
    async def acknowledged(self) -> None: ...


class Record(Protocol):
    """A record as it was fetched."""

    topic: str
    partition: int
    offset: int
    timestamp: int  #: milliseconds since 1970, as the client or the broker has written it: see `times.record_time`
    timestamp_type: int  #: 1 (LOG_APPEND_TIME) if the broker has written it
    key: bytes | None
    value: bytes | None
    headers: Headers
