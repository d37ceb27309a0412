"""Which produce errors are permanent for a message, and the exception for a message that the broker refused.

A transient error (an outage, fencing, too few replicas, a timeout) affects everything that is sent: the worker crashes
and its records are delivered again. A refusal affects one message: sending it again cannot succeed, so its record has
to be parked.
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

    `error`: from a delivery report or raised by `produce()`: KafkaError, KafkaException, or a Python error about its
    arguments. False for a fatal error: it concerns the producer, not the message.
    """
    if isinstance(error, KafkaException):
        error = error.args[0]
    if isinstance(error, KafkaError):
        return error.code() in PERMANENT and not error.fatal()
    return isinstance(error, ValueError | TypeError)


class Refused(Exception):
    """The broker or librdkafka refused a message permanently, also when it was sent alone.

    `error`: KafkaError, KafkaException, or a Python error about the arguments of `produce()`.
    """

    def __init__(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None,
        error: Any,
    ) -> None:
        self.topic, self.key, self.value, self.headers = topic, key, value, headers or ()
        self.error = error.args[0] if isinstance(error, KafkaException) else error
        size_bytes = len(key or b"") + size_of(value, self.headers)
        super().__init__(f"{topic} refused a record of {size_bytes:,} bytes: {self.reason}")

    @property
    def reason(self) -> str:
        """The broker's error code and text."""
        if isinstance(self.error, KafkaError):
            return f"{self.error.name()}: {self.error.str()}"
        return f"{type(self.error).__name__}: {self.error}"


def size_of(value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> int:
    """Size of a record's value and headers in bytes, without the overhead of the record format."""
    return len(value or b"") + sum(len(name) + len(content or b"") for name, content in headers)
