"""Generate records for every topic that no service writes: valid ones with up to three random changes.

The records depend only on the seed, so a failure can be repeated.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS
from saga_app.saga.onboarding import ONBOARDING
from tests.topics import user

GOLDEN = Path(__file__).parents[1] / "wire" / "golden"
REQUESTS = ONBOARDING.topics
CHANGELOGS = (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values())
TOPICS = (*REQUESTS, SIGNALS, DLQ, *CHANGELOGS)
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

#: The timestamp that librdkafka replaces by the time of its clock.
TIME_OF_CLIENT = 0

Headers = tuple[tuple[str, bytes | None], ...]
Change = Callable[[random.Random, Any], Any]


@dataclass(frozen=True)
class Poison:
    """A record to send. `id` is the saga id of the unchanged record; a `partition` of None means that of the key."""

    topic: str
    id: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = TIME_OF_CLIENT
    codec: str = "none"
    partition: int | None = None


def poison(seed: int, count: int, partitions: int, changelogs: bool = True) -> Iterator[Poison]:
    """Yield `count` records. Without `changelogs`, only for the topics that other clients may write to."""
    dice = random.Random(f"poison {seed}")
    topics = TOPICS if changelogs else tuple(topic for topic in TOPICS if topic not in CHANGELOGS)
    for number in range(count):
        record = _valid_record(dice, dice.choice(topics), f"fuzz-{seed}-{number}")
        for change in dice.sample(CHANGES, dice.choice((0, 1, 1, 1, 2, 3))):
            record = change(dice, record)
        yield replace(
            record, codec=dice.choice(CODECS), partition=dice.choice((None, None, dice.randrange(partitions)))
        )


def _valid_record(dice: random.Random, topic: str, id: str) -> Poison:
    """A valid record of a saga that does not exist."""
    headers: Headers = ()
    if topic == DLQ:
        letter = _golden("dead-letter.json") | {
            "id": id,
            "topic": dice.choice(REQUESTS),
            "offset": 10**9 + dice.randrange(10**6),
        }
        headers = ((DEAD_LETTER, json.dumps(letter).encode()),)
    document = json.dumps(_document(dice, topic) | {"id": id}).encode()
    return Poison(topic, id, id.encode(), document, headers)


def _document(dice: random.Random, topic: str) -> dict[str, Any]:
    if topic == "new-user":
        request: dict[str, Any] = json.loads(user("-"))
        return request
    if topic == SIGNALS:
        return _golden(f"signal-{dice.choice(('failed', 'overdue', 'redriven', 'cancelled'))}.json")
    if topic == ROWS_CHANGELOG:
        return _golden(f"row-{dice.choice(('running', 'completed'))}.json")
    if topic in EFFECTS_CHANGELOGS.values():
        return {"v": 1, "answers": {}, "begun": ["notify"], "undone": ["authorize"]}
    path = GOLDEN / f"{topic}.json"
    return _golden(path.name if path.exists() else "notify.json")


def _golden(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / name).read_text("utf-8"))
    return document


# -- changes of the value


def _change_field(dice: random.Random, record: Poison) -> Poison:
    """Replace or delete one value in the document."""
    document = _parse(record)
    if document is None:
        return record
    container, key = dice.choice(list(_fields(document)))
    if dice.random() < 0.25:
        del container[key]
    else:
        container[key] = dice.choice(ODD_VALUES)
    return replace(record, value=json.dumps(document).encode("utf-8", "surrogatepass"))


def _parse(record: Poison) -> Any:
    """The document in the value, or None if it is not a JSON object with fields."""
    try:
        document = json.loads(record.value or b"")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document else None


def _fields(document: Any) -> Iterator[tuple[Any, Any]]:
    """Each object or array in the document with each of its keys or indexes."""
    for key in list(document) if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from _fields(document[key])


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ODD_VALUES: Sequence[Any] = (
    *(None, True, 0, -1, 2**31, 2**63, 10**400, 1.5, -0.0, 1e308, "", " ", "x" * 200_000, [], {}, [None], {"": None}),
    *("\x00", "\x1b[2J\x1b]0;owned\x07", "\u200b", "\u202eevil", "\ud800", "../../etc/passwd", "a/b?c#d", "🙂" * 100),
    *(
        "9999-12-31T23:59:59.999Z",
        "0001-01-01T00:00:00Z",
        "2026-02-30T00:00:00.000Z",
        "2999-01-01T00:00:00.000Z",
        "now",
    ),
    *(_nested(90), {"a": _nested(50)}, ["notify"] * 1000, ["nowhere"], [{}], "9" * 5000, "Sales\u2060", "<script>"),
)

BROKEN_VALUES: Sequence[bytes | None] = (
    *(
        None,
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"42",
        b"NaN",
        b"{",
        b"}",
        b"\xff\xfe\x00",
        b"\x00" * 50,
        b"\xef\xbb\xbf{}",
    ),
    *(b"[" * 50_000, b'{"v":' * 5_000, b'{"v":1,"v":2}', b"x" * 500_000, b'{"v":1e999}', b'{"id":"\xff"}', b"\xf0\x9f"),
)


def _break_value(dice: random.Random, record: Poison) -> Poison:
    return replace(record, value=dice.choice(BROKEN_VALUES))


def _randomize_value(dice: random.Random, record: Poison) -> Poison:
    return replace(record, value=dice.randbytes(dice.choice((1, 20, 3000))))


def _truncate_value(dice: random.Random, record: Poison) -> Poison:
    value = record.value or b""
    return replace(record, value=value[: dice.randrange(len(value) + 1)])


def _flip_bytes(dice: random.Random, record: Poison) -> Poison:
    value = bytearray(record.value or b"-")
    for _ in range(dice.choice((1, 3))):
        value[dice.randrange(len(value))] = dice.randrange(256)
    return replace(record, value=bytes(value))


# -- changes of the key, headers and timestamp


def _change_key(dice: random.Random, record: Poison) -> Poison:
    keys = (None, b"", b"\xff\xfe", dice.randbytes(12), b"k" * 10_000, b"..", "é".encode(), b"another-saga", b"\x00")
    return replace(record, key=dice.choice(keys))


def _change_headers(dice: random.Random, record: Poison) -> Poison:
    odd: Sequence[Headers] = (
        (),
        (("", b""),),
        ((DEAD_LETTER, None),),
        ((DEAD_LETTER, b"{}"),),
        ((DEAD_LETTER, dice.randbytes(30)), *record.headers),
        (*record.headers, *record.headers),
        (("traceparent", b"\xff\xfe"), ("tracestate", b"=,=")),
        (("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"), ("traceparent", None)),
        (("content-type", b"application/cloudevents+json"), ("ce_specversion", b"0.1"), ("ce_id", b"\x1b[2J")),
        (*record.headers, *((f"h{n}", b"v" * 50) for n in range(300))),
        (*record.headers, ("é\u202e\x1b", dice.randbytes(40)), ("redriven", b"authorize[0]@-1"), ("redriven-by", None)),
        (*record.headers, ("redriven", dice.randbytes(10))),
    )
    return replace(record, headers=dice.choice(odd))


def _change_timestamp(dice: random.Random, record: Poison) -> Poison:
    odd = (1, 999, 10**12, 253_402_300_800_000, 2**63 - 1, 4 * 10**12, 253_402_300_799_999)
    return replace(record, timestamp_ms=dice.choice(odd))


CHANGES: Sequence[Callable[[random.Random, Poison], Poison]] = (
    *(_change_field, _change_field, _change_field, _break_value, _randomize_value, _truncate_value, _flip_bytes),
    *(_change_key, _change_headers, _change_timestamp),
)
