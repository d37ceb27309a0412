"""W3C Trace Context, Level 2: what is valid is continued, what is not is restarted; checked against OpenTelemetry."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from saga_app.service import tracecontext
from saga_app.service.headers import headers_for
from tests.builders import at, requested
from tests.fakes.starter import ADA, opened
from tests.unit.test_step import ASKED, handle

pytestmark = pytest.mark.field(4)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01".encode()

#: What a valid `traceparent` may look like, and the flags that are carried on.
PARENTS = {
    VALID: b"01",
    f"00-{TRACE}-{SPAN}-00".encode(): b"00",
    f"00-{TRACE}-{SPAN}-03".encode(): b"03",
    f"00-{TRACE}-{SPAN}-ff".encode(): b"03",
    f"01-{TRACE}-{SPAN}-01".encode(): b"01",
    f"cc-{TRACE}-{SPAN}-01".encode(): b"01",
    f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like".encode(): b"01",
    b" \t" + VALID + b"\t ": b"01",
}

INVALID_PARENTS = [
    b"",
    b"\xff\xfe",
    b"hello world",
    b"00-" + b"0" * 32,
    f"00-{'0' * 32}-{SPAN}-01".encode(),
    f"00-{TRACE}-{'0' * 16}-01".encode(),
    f"ff-{TRACE}-{SPAN}-01".encode(),
    VALID.upper(),
    VALID + b"-extra",
    VALID + b"-",
    VALID + b"\n",
    f"cc-{TRACE}-{SPAN}-01.".encode(),
    f"00-{TRACE}-{SPAN}-1".encode(),
    f"00-{TRACE[:-1]}-{SPAN}-01".encode(),
    f"00-{TRACE}0-{SPAN}-01".encode(),
    f"0x-{TRACE}-{SPAN}-01".encode(),
    f"00_{TRACE}_{SPAN}_01".encode(),
    b"\xd9\xa0" * 60,
    b"x" * 100_000,
]

STATES = {
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


def sent(*headers: tuple[str, bytes | None]) -> dict[str, bytes]:
    """The headers of the message that follows from a request with these headers."""
    return dict(headers_for(requested(), "authorize", "provisioner", at(0), headers))


def is_ours(headers: dict[str, bytes]) -> bool:
    """Whether the trace was started by us, alone."""
    return headers["traceparent"] == sent()["traceparent"] and "tracestate" not in headers


@pytest.mark.parametrize(("given", "flags"), PARENTS.items())
def test_a_valid_parent_is_continued_with_a_span_of_ours(
    given: bytes, flags: bytes, now: Callable[[str], None]
) -> None:
    version, trace_id, span, carried = sent(("traceparent", given))["traceparent"].split(b"-")
    assert (version, trace_id, carried) == (b"00", TRACE.encode(), flags)
    assert span not in (SPAN.encode(), b"0" * 16)
    now("valid: continued, with tracestate; invalid: restarted")


@pytest.mark.parametrize("given", INVALID_PARENTS)
def test_an_invalid_parent_starts_another_trace_without_its_state(given: bytes) -> None:
    assert is_ours(sent(("traceparent", given), ("tracestate", b"a=1")))


def test_two_parents_or_none_start_another_trace() -> None:
    assert is_ours(sent(("traceparent", VALID), ("traceparent", VALID), ("tracestate", b"a=1")))
    assert is_ours(sent(("traceparent", None), ("tracestate", b"a=1")))
    assert is_ours(sent(("tracestate", b"a=1")))


@pytest.mark.parametrize(("given", "carried"), STATES.items())
def test_a_valid_state_is_carried(given: bytes, carried: bytes) -> None:
    assert sent(("traceparent", VALID), ("tracestate", given))["tracestate"] == carried


def test_several_states_are_one_list_in_their_order() -> None:
    headers = sent(("tracestate", b"a=1,b=2"), ("traceparent", VALID), ("tracestate", b""), ("tracestate", b"c=3"))
    assert headers["tracestate"] == b"a=1,b=2,c=3"


@pytest.mark.parametrize("given", [*INVALID_STATES, b"", b" , ,"])
def test_an_invalid_state_is_dropped_and_its_parent_continued(given: bytes) -> None:
    headers = sent(("traceparent", VALID), ("tracestate", given))
    assert TRACE.encode() in headers["traceparent"]
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
def test_whatever_headers_hold_nothing_is_raised(headers: list[tuple[str, bytes | None]]) -> None:
    headers_for(requested(), "authorize", "provisioner", at(0), headers)


def test_the_same_step_published_again_has_the_same_trace() -> None:
    headers = [("traceparent", VALID), ("tracestate", b"a=1")]
    first, again = (dict(handle("new-user", ASKED, headers=headers)[0].messages[0][3]) for _ in range(2))
    assert (first["traceparent"], first["tracestate"]) == (again["traceparent"], again["tracestate"])


def test_each_step_has_a_span_of_its_own() -> None:
    names = ("authorize", "notify", "notified")
    parents = {sent_on(topic)["traceparent"] for topic in names}
    assert len(parents) == len(names)


def sent_on(topic: str) -> dict[str, bytes]:
    """The headers of a message on this topic, in the client's trace."""
    return dict(headers_for(requested(), topic, "us", at(0), [("traceparent", VALID)]))


async def test_the_context_of_an_http_request_is_the_parent_of_the_saga() -> None:
    async with opened() as office:
        await office.post(ADA, traceparent=VALID.decode(), tracestate="a=1")
        await office.post([ADA, ADA], traceparent=VALID.decode())
        await office.post(ADA, traceparent="hello world", tracestate="a=1")
        one, *many, restarted = (dict(message.headers or ()) for message in office.producer.sent)
    assert one["traceparent"].startswith(b"00-" + TRACE.encode())
    assert one["tracestate"] == b"a=1"
    assert len({headers["traceparent"] for headers in many}) == 2
    assert all(TRACE.encode() in headers["traceparent"] for headers in many)
    assert TRACE.encode() not in restarted["traceparent"]
    assert "tracestate" not in restarted
