"""Hypothesis strategies for records that any client may write: valid ones with unusual contents, and invalid ones."""

import json
from typing import Any

from hypothesis import strategies as st

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.times import iso
from tests.builders import at
from tests.fakes.record import FakeRecord

TOPICS = (*ONBOARDING.topics, SIGNALS, DLQ, ROWS_CHANGELOG)

#: Any text that JSON can represent, including NUL, which PostgreSQL cannot store.
TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["\x00", "\x1b[2J", "\u202e", "ada", ""])
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TIMES = st.sampled_from(
    [
        iso(at(0)),
        iso(at(5)),
        "2023-11-15T00:13:25+02:00",
        "0001-01-01T00:00:00+14:00",
        "1000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-12:00",
    ]
)
STEPS = st.sampled_from([step.name for step in ONBOARDING.steps + ONBOARDING.compensations]) | TEXT
SLIPS = st.fixed_dictionaries(
    {
        "ahead": st.lists(st.sampled_from(ONBOARDING.topics), max_size=3),
        "back": st.lists(st.sampled_from(ONBOARDING.topics), max_size=3),
        "undoing": st.booleans(),
    }
)
VISITS = st.fixed_dictionaries(
    {
        "step": STEPS,
        "service": TEXT,
        "attempts": st.integers(1, 9),
        "received_at": TIMES,
        "started_at": TIMES,
        "ended_at": TIMES,
        "outcome": st.sampled_from(["done", "denied", "failed", "cancelled"]),
        "reason": TEXT | st.none(),
    }
)
USERS = st.just({"name": "Ada", "email": "ada@example.com", "department": "Sales"}) | st.fixed_dictionaries(
    dict.fromkeys(("name", "email", "department"), TEXT.filter(len))
)
FACTS = st.dictionaries(TEXT | st.sampled_from(["device_id", "authorizations"]), JSON_VALUES, max_size=3)
COMMON_FIELDS = {"v": st.just(1), "id": st.just("ada"), "saga": TEXT}

MESSAGES = st.fixed_dictionaries(
    {**COMMON_FIELDS, "user": USERS, "attempt": st.integers(1, 3)},
    optional={
        "started_at": TIMES,
        "facts": FACTS,
        "slip": SLIPS,
        "history": st.lists(VISITS, max_size=3),
    },
)
SIGNAL_BODIES = st.fixed_dictionaries(
    {
        **COMMON_FIELDS,
        "kind": st.sampled_from(["failed", "overdue", "redriven", "cancelled"]),
        "step": STEPS,
        "service": TEXT,
        "at": TIMES,
    },
    optional={"attempt": st.integers(1, 3), "next_at": TIMES, "reason": TEXT, "by": TEXT, "due_at": TIMES},
)
ROWS = st.fixed_dictionaries(
    {
        **COMMON_FIELDS,
        "user": USERS,
        "state": st.sampled_from(
            ["running", "completed", "rolling-back", "rolled-back", "parked", "rollback-incomplete"]
        ),
        "step": STEPS,
        "attempt": st.integers(1, 3),
        "started_at": TIMES,
        "updated_at": TIMES,
    },
    optional={
        "ended_at": TIMES | st.none(),
        "due_at": TIMES,
        "facts": FACTS,
        "slip": SLIPS,
        "history": st.lists(VISITS, max_size=3),
        "trouble": SIGNAL_BODIES,
        "order": SIGNAL_BODIES,
        "awaited": st.lists(SIGNAL_BODIES, max_size=2),
    },
)
LETTERS = st.fixed_dictionaries(
    {
        "v": st.just(1),
        "topic": st.sampled_from(ONBOARDING.topics) | TEXT,
        "partition": st.integers(0, 2**31 - 1),
        "offset": st.integers(0, 2**63 - 1),
        "service": TEXT,
        "step": STEPS,
        "error": TEXT,
        "reason": TEXT,
        "attempts": st.integers(1, 2**31 - 1),
        "received_at": TIMES,
        "at": TIMES,
    },
    optional={"id": st.just("ada"), "saga": TEXT},
)

#: Values that are not valid records.
INVALID = st.sampled_from(
    [
        None,
        b"",
        b"null",
        b"[" * 5000,
        b'{"a":' * 5000,
        b'{"v":1,"id":"ada","id":7}',
        b'{"v":NaN}',
        b'{"v":1e999}',
        b'{"v":1,"id":"\\ud800"}',
        b'{"v":2,"id":"ada"}',
        b"\xff\xfe{",
        b"\xef\xbb\xbf{}",
    ]
)
KEYS = st.sampled_from([b"ada", None, b"", b"\xff", b"\x00", b"a/b", b"k" * 200]) | st.binary(max_size=4)
TIMESTAMPS = st.sampled_from([-1, 0, 1_700_000_000_000, 253_402_300_800_000, 2**63 - 1, -(2**63)])


def json_of(body: Any) -> bytes:
    """The body as JSON. Unlike `encode`, it supports integers of more than 64 bits."""
    return json.dumps(body).encode()


VALUES = st.one_of(INVALID, st.binary(max_size=20), *(kind.map(json_of) for kind in (MESSAGES, SIGNAL_BODIES, ROWS)))

#: Values of the header `dead-letter`, valid and invalid.
DEAD_LETTER_HEADERS = LETTERS.map(json_of) | INVALID.filter(lambda value: value is not None) | st.binary(max_size=8)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["content-type", "traceparent", "redriven"]), st.binary(max_size=8) | st.none())
    | st.tuples(st.just(DEAD_LETTER), DEAD_LETTER_HEADERS),
    max_size=3,
)


def records(
    topics: tuple[str, ...] = TOPICS, values: st.SearchStrategy[bytes | None] = VALUES, partitions: int = 3
) -> st.SearchStrategy[FakeRecord]:
    """Records on these topics, with any key, timestamp and headers."""
    return st.builds(
        FakeRecord,
        topic=st.sampled_from(topics),
        partition=st.integers(0, partitions - 1),
        offset=st.integers(0, 2**40),
        timestamp=TIMESTAMPS,
        key=KEYS,
        value=values,
        headers=HEADERS,
        timestamp_type=st.sampled_from([-1, 0, 1]),
    )
