"""Which produce errors are permanent for a message, and what is known about a message that the broker refused.

A transient error (an outage, fencing, too few replicas, a timeout) concerns everything that is sent: the worker ends
and its records are delivered again. A refusal concerns one message: sending it again cannot help, so its record has to
be parked instead.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

#: The broker refuses the message, or the topic for it, or librdkafka will never send it.
PERMANENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,  # the name of the topic is invalid
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._BAD_MSG,
        KafkaError._INVALID_ARG,
    }
)


def is_permanent(error: Any) -> bool:
    """Whether sending the same message again cannot succeed.

    `error`: what a delivery report carries or `produce()` raises: KafkaError, KafkaException, or a Python error about
    the arguments. A fatal error is the producer's, not the message's.
    """
    if isinstance(error, KafkaException):
        error = error.args[0]
    if isinstance(error, KafkaError):
        return error.code() in PERMANENT and not error.fatal()
    return isinstance(error, ValueError | TypeError)


class Refused(Exception):
    """The broker, or librdkafka, refused a message for good, also when it was sent alone.

    `error`: KafkaError, KafkaException, or a Python error about the arguments of `produce()`.
    """

    def __init__(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] | None,
        error: Any,
    ) -> None:
        self.topic, self.key, self.value, self.headers = topic, key, value, headers or ()
        self.error = error.args[0] if isinstance(error, KafkaException) else error
        size_bytes = len(key or b"") + size_of(value, self.headers)
        super().__init__(f"{topic} refused a record of {size_bytes:,} bytes: {self.reason}")

    @property
    def reason(self) -> str:
        """The broker's own words."""
        if isinstance(self.error, KafkaError):
            return f"{self.error.name()}: {self.error.str()}"
        return f"{type(self.error).__name__}: {self.error}"


def size_of(value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> int:
    """The bytes of a record's value and headers, without what the record format adds."""
    return len(value or b"") + sum(len(name) + len(content or b"") for name, content in headers)
