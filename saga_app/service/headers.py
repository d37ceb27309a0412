"""The headers of a message: CloudEvents 1.0 in binary mode, and the W3C trace context, carried on.

https://github.com/cloudevents/spec (Kafka protocol binding, binary content mode) and https://www.w3.org/TR/trace-context/
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

from saga_app.saga.messages import Message

TRACEPARENT = "traceparent"


def headers_for(
    message: Message, topic: str, service: str, at: str, carried: Iterable[tuple[str, bytes]] = ()
) -> list[tuple[str, bytes]]:
    """For a message to a topic. `ce_id` is the same when the same step of the same saga is sent again.

    `carried` are the headers of the record that led to it; `at` is an ISO time.
    """
    trace = next((value for name, value in carried if name == TRACEPARENT), None) or traceparent(message)
    version, kind, source = _same(message.saga, topic, service)
    id = ("ce_id", f"{message.saga}:{message.id}:{topic}:{message.attempt}".encode())
    return [version, id, kind, source, ("ce_time", at.encode()), (TRACEPARENT, trace)]


@lru_cache(maxsize=256)
def _same(saga: str, topic: str, service: str) -> tuple[tuple[str, bytes], ...]:
    """Those that all messages of one kind share."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", f"{saga}.{topic}".encode()),
        ("ce_source", f"/{service}".encode()),
    )


def traceparent(message: Message) -> bytes:
    """A trace for a saga that came without one: the same each time, so that a redelivery joins the same trace."""
    digest = blake2b(f"{message.saga}:{message.id}".encode(), digest_size=24).hexdigest()
    return f"00-{digest[:32]}-{digest[32:]}-01".encode()
