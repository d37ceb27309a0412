"""Propagates W3C Trace Context (Level 2) from incoming headers to outgoing messages.

https://www.w3.org/TR/trace-context-2/. Incoming values are untrusted bytes. An invalid `traceparent` starts a new trace
and drops the `tracestate`; an invalid `tracestate` is dropped alone.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"

#: version-trace id-parent id-flags. Versions after 00 may append fields after another dash.
_PARENT = re.compile(
    rb"[ \t]*(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-[^\r\n]*)?[ \t]*"
)

#: A list member: key=value. A value is printable ASCII without comma and equals sign, and does not end with a space.
_MEMBER = re.compile(
    rb"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)

MAX_MEMBERS = 32

#: The flags that are propagated: sampled, and random trace id.
_KNOWN_FLAGS = 0x03


class Context(NamedTuple):
    """A valid incoming trace context."""

    trace_id: bytes  #: 32 hexadecimal digits
    flags: int
    state: bytes  #: the `tracestate` to send; may be empty


def context_of(headers: Iterable[tuple[str, bytes | None]]) -> Context | None:
    """The trace context in these headers; None if there is no valid `traceparent`, or more than one."""
    parents: list[bytes] = []
    states: list[bytes] = []
    for name, value in headers:
        if name == TRACEPARENT:
            parents.append(value or b"")
        elif name == TRACESTATE:
            states.append(value or b"")
    found = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None or (found[1] == b"00" and found[4] is not None):
        return None
    return Context(found[2], int(found[3], 16) & _KNOWN_FLAGS, _state(b",".join(states)) if states else b"")


def _state(given: bytes) -> bytes:
    """The `tracestate` list without empty members; empty if it is invalid."""
    members = [member for each in given.split(b",") if (member := each.strip(b" \t"))]
    keys = [found[1] for member in members if (found := _MEMBER.fullmatch(member))]
    if len(keys) != len(members) or len(set(keys)) != len(keys) or len(members) > MAX_MEMBERS:
        return b""
    return b",".join(members)


def headers_of(context: Context, span_id: str) -> list[tuple[str, bytes]]:
    """The headers of a message in this trace. `span_id`: of the message, 16 hexadecimal digits, not all zero."""
    parent = (TRACEPARENT, b"00-%b-%b-%02x" % (context.trace_id, span_id.encode(), context.flags))
    return [parent, (TRACESTATE, context.state)] if context.state else [parent]
