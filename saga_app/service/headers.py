"""The headers of a message: CloudEvents 1.0 in binary mode, and the propagated W3C trace context.

https://github.com/cloudevents/spec (Kafka protocol binding, binary content mode) and https://www.w3.org/TR/trace-context-2/
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b

from saga_app.saga.cloudevents import JSON
from saga_app.saga.messages import CONTENT_TYPE, Message, Signal
from saga_app.saga.times import iso
from saga_app.service import tracecontext
from saga_app.service.tracecontext import TRACEPARENT

Headers = list[tuple[str, bytes]]


def headers_for(
    message: Message, topic: str, service: str, at: datetime, carried: Iterable[tuple[str, bytes | None]] = ()
) -> Headers:
    """The headers of a request that `service` sends to `topic`.

    `at`: the time of the event. `carried`: the headers of the record or HTTP request that led to it.
    `ce_id` and the trace stay the same when the same request is sent again.
    """
    id = f"{message.saga}:{message.id}:{topic}:{message.attempt}".encode()
    context = tracecontext.context_of(carried)
    trace = tracecontext.headers_of(context, _span_id(id)) if context else [(TRACEPARENT, traceparent(message))]
    return [*_common(f"{message.saga}.{topic}", service), ("ce_id", id), ("ce_time", _time(at)), *trace]


def headers_for_signal(signal: Signal, service: str) -> Headers:
    """The headers of a signal that `service` sends."""
    id = f"{signal.saga}:{signal.id}:{signal.kind}:{signal.step}:{signal.attempt}:{iso(signal.at)}"
    common = _common(f"{signal.saga}.signal.{signal.kind}", service)
    return [*common, ("ce_id", id.encode()), ("ce_time", iso(signal.at).encode())]


@lru_cache(maxsize=16)
def _time(at: datetime) -> bytes:
    """The value of `ce_time`; the requests of a run of records have the same time."""
    return iso(at).encode()


@lru_cache(maxsize=256)
def _common(kind: str, service: str) -> tuple[tuple[str, bytes], ...]:
    """The headers that all messages of one kind share."""
    return (
        (CONTENT_TYPE, JSON.encode()),
        ("ce_specversion", b"1.0"),
        ("ce_type", kind.encode()),
        ("ce_source", f"/{service}".encode()),
    )


def traceparent(message: Message) -> bytes:
    """The trace of a saga that started without one. It is derived from the saga id, so that redeliveries share it."""
    digest = blake2b(f"{message.saga}:{message.id}".encode(), digest_size=24).hexdigest()
    return f"00-{digest[:32]}-{digest[32:]}-01".encode()


def _span_id(id: bytes) -> str:
    return blake2b(id, digest_size=8).hexdigest()
