"""W3C Trace Context, Level 2: valid contexts are continued, invalid ones restarted, as OpenTelemetry decides."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from saga_app.service import tracecontext
from saga_app.service.headers import headers_for
from tests.builders import at, requested
from tests.fakes.starter import ADA, running_starter
from tests.unit.step_harness import NEW_USER_REQUEST, handle_record

pytestmark = pytest.mark.field(4)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID_PARENT = f"00-{TRACE}-{SPAN}-01".encode()

#: Valid `traceparent` headers, and the flags with which each is continued.
VALID_PARENTS = {
    VALID_PARENT: b"01",
    f"00-{TRACE}-{SPAN}-00".encode(): b"00",
    f"00-{TRACE}-{SPAN}-03".encode(): b"03",
    f"00-{TRACE}-{SPAN}-ff".encode(): b"03",
    f"01-{TRACE}-{SPAN}-01".encode(): b"01",
    f"cc-{TRACE}-{SPAN}-01".encode(): b"01",
    f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like".encode(): b"01",
    b" \t" + VALID_PARENT + b"\t ": b"01",
}

INVALID_PARENTS = [
    b"",
    b"\xff\xfe",
    b"hello world",
    b"00-" + b"0" * 32,
    f"00-{'0' * 32}-{SPAN}-01".encode(),
    f"00-{TRACE}-{'0' * 16}-01".encode(),
    f"ff-{TRACE}-{SPAN}-01".encode(),
    VALID_PARENT.upper(),
    VALID_PARENT + b"-extra",
    VALID_PARENT + b"-",
    VALID_PARENT + b"\n",
    f"cc-{TRACE}-{SPAN}-01.".encode(),
    f"00-{TRACE}-{SPAN}-1".encode(),
    f"00-{TRACE[:-1]}-{SPAN}-01".encode(),
    f"00-{TRACE}0-{SPAN}-01".encode(),
    f"0x-{TRACE}-{SPAN}-01".encode(),
    f"00_{TRACE}_{SPAN}_01".encode(),
    b"\xd9\xa0" * 60,
    b"x" * 100_000,
]

#: Valid `tracestate` headers, and the form in which each is continued.
VALID_STATES = {
    b"a=1": b"a=1",
    b"a=1,b=2": b"a=1,b=2",
    b"a=1 , b=2\t": b"a=1,b=2",
    b",a=1,,b=2,": b"a=1,b=2",
    b"fw529a3039@dt=FfTwX/+=~".replace(b"=~", b"~"): b"fw529a3039@dt=FfTwX/+~",
    b"0=x": b"0=x",
    b"a_-*/b= spaced  value": b"a_-*/b= spaced  value",
    b"k" * 256 + b"=" + b"v" * 256: b"k" * 256 + b"=" + b"v" * 256,
    b",".join(b"k%d=v" % n for n in range(32)): b",".join(b"k%d=v" % n for n in range(32)),
}

INVALID_STATES = [
    b"a",
    b"a=",
    b"=1",
    b"A=1",
    b"a=1=2",
    b"a=1;b=2",
    b"a b=1",
    b"a=1,a=2",
    b"_a=1",
    b"a=\xff",
    b"a=\x01",
    b"k" * 257 + b"=v",
    b"k=" + b"v" * 257,
    b",".join(b"k%d=v" % n for n in range(33)),
]


def headers_after(*headers: tuple[str, bytes | None]) -> dict[str, bytes]:
    """The headers of the message that a request with these headers leads to."""
    return dict(headers_for(requested(), "authorize", "provisioner", at(0), headers))


def is_restarted(headers: dict[str, bytes]) -> bool:
    """Whether the service has started a trace of its own."""
    return headers["traceparent"] == headers_after()["traceparent"] and "tracestate" not in headers


@pytest.mark.parametrize(("given", "flags"), VALID_PARENTS.items())
def test_a_valid_parent_is_continued_with_a_new_span(given: bytes, flags: bytes, now: Callable[[str], None]) -> None:
    version, trace_id, span, carried = headers_after(("traceparent", given))["traceparent"].split(b"-")
    assert (version, trace_id, carried) == (b"00", TRACE.encode(), flags)
    assert span not in (SPAN.encode(), b"0" * 16)
    now("valid: continued, with tracestate; invalid: restarted")


@pytest.mark.parametrize("given", INVALID_PARENTS)
def test_an_invalid_parent_starts_a_new_trace_without_its_state(given: bytes) -> None:
    assert is_restarted(headers_after(("traceparent", given), ("tracestate", b"a=1")))


def test_no_parent_or_several_start_a_new_trace() -> None:
    assert is_restarted(
        headers_after(("traceparent", VALID_PARENT), ("traceparent", VALID_PARENT), ("tracestate", b"a=1"))
    )
    assert is_restarted(headers_after(("traceparent", None), ("tracestate", b"a=1")))
    assert is_restarted(headers_after(("tracestate", b"a=1")))


@pytest.mark.parametrize(("given", "carried"), VALID_STATES.items())
def test_a_valid_state_is_continued(given: bytes, carried: bytes) -> None:
    assert headers_after(("traceparent", VALID_PARENT), ("tracestate", given))["tracestate"] == carried


def test_several_state_headers_are_joined_in_order() -> None:
    headers = headers_after(
        ("tracestate", b"a=1,b=2"), ("traceparent", VALID_PARENT), ("tracestate", b""), ("tracestate", b"c=3")
    )
    assert headers["tracestate"] == b"a=1,b=2,c=3"


@pytest.mark.parametrize("given", [*INVALID_STATES, b"", b" , ,"])
def test_an_invalid_state_is_dropped_and_its_parent_is_continued(given: bytes) -> None:
    headers = headers_after(("traceparent", VALID_PARENT), ("tracestate", given))
    assert TRACE.encode() in (headers["traceparent"] or b"")
    assert "tracestate" not in headers


@given(st.binary() | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?", fullmatch=True))
def test_opentelemetry_agrees_which_parents_are_valid(given: bytes) -> None:
    carrier = {"traceparent": given.decode("latin-1")}
    context = TraceContextTextMapPropagator().extract(carrier)
    theirs = trace.get_current_span(context).get_span_context()
    ours = tracecontext.context_of([("traceparent", given)])
    assert (ours is not None) == theirs.is_valid
    assert ours is None or int(ours.trace_id, 16) == theirs.trace_id


@given(st.lists(st.tuples(st.text(max_size=20), st.binary() | st.none())))
def test_any_headers_are_accepted_without_an_error(headers: list[tuple[str, bytes | None]]) -> None:
    headers_for(requested(), "authorize", "provisioner", at(0), headers)


def test_a_step_published_again_has_the_same_trace() -> None:
    headers = [("traceparent", VALID_PARENT), ("tracestate", b"a=1")]
    first, again = (
        dict(handle_record("new-user", NEW_USER_REQUEST, headers=headers)[0].messages[0][3]) for _ in range(2)
    )
    assert (first["traceparent"], first["tracestate"]) == (again["traceparent"], again["tracestate"])


def test_each_step_has_its_own_span() -> None:
    names = ("authorize", "notify", "notified")
    parents = {headers_on(topic)["traceparent"] for topic in names}
    assert len(parents) == len(names)


def headers_on(topic: str) -> dict[str, bytes]:
    """The headers of a message on this topic in the client's trace."""
    return dict(headers_for(requested(), topic, "provisioner", at(0), [("traceparent", VALID_PARENT)]))


async def test_the_context_of_an_http_request_is_the_parent_of_the_saga() -> None:
    async with running_starter() as server:
        await server.post(ADA, traceparent=VALID_PARENT.decode(), tracestate="a=1")
        await server.post([ADA, ADA], traceparent=VALID_PARENT.decode())
        await server.post(ADA, traceparent="hello world", tracestate="a=1")
        one, *many, restarted = (dict(message.headers or ()) for message in server.producer.sent)
    assert (one["traceparent"] or b"").startswith(b"00-" + TRACE.encode())
    assert one["tracestate"] == b"a=1"
    assert len({headers["traceparent"] for headers in many}) == 2
    assert all(TRACE.encode() in (headers["traceparent"] or b"") for headers in many)
    assert TRACE.encode() not in (restarted["traceparent"] or b"")
    assert "tracestate" not in restarted
