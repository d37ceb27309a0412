"""Determine the fate of each poison record: handled, dead-lettered, or reported by `saga audit`."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.codec import BadMessage, parse
from saga_app.saga.messages import DEAD_LETTER, DLQ, SIGNALS
from tests.fuzz.poison import CHANGELOGS, Poison
from tests.fuzz.sending import Place
from tests.topics import read_messages


def dead_letters(bootstrap: str) -> dict[Place, dict[str, Any]]:
    """The readable dead letters, by the position of the original."""
    found = {}
    for message in read_messages(bootstrap, DLQ):
        for letter in _letters(message.headers() or ()):
            found[letter["topic"], letter["partition"], letter["offset"]] = letter
    return found


def _letters(headers: Iterable[tuple[str, bytes | None]]) -> Iterable[dict[str, Any]]:
    for name, value in headers:
        if name != DEAD_LETTER or value is None:
            continue
        try:
            letter = json.loads(value)
            if {"topic", "partition", "offset"} <= letter.keys():
                yield letter
        except (ValueError, AttributeError):
            continue


def fates(
    sent: Mapping[Place, Poison], letters: Mapping[Place, dict[str, Any]], known_ids: set[str], audited: set[Place]
) -> tuple[Counter[str], list[tuple[Place, Poison]]]:
    """The number of records with each fate, and the records whose fate is unknown.

    `known_ids` are the ids of sagas that have a row, `audited` the positions that `saga audit` reports.
    """
    counts: Counter[str] = Counter()
    unknown = []
    for place, record in sent.items():
        fate = _fate(place, record, letters, known_ids, audited)
        counts[fate] += 1
        if fate == "unknown":
            unknown.append((place, record))
    return counts, unknown


def _fate(
    place: Place, record: Poison, letters: Mapping[Place, dict[str, Any]], known_ids: set[str], audited: set[Place]
) -> str:
    if place in letters:
        return "dead-lettered"
    if place in audited:
        return "reported by the audit"
    if place[0] in CHANGELOGS:
        return "a row of the changelog"
    if record.id in known_ids or _id(record) in known_ids:
        return "handled"
    return "about a saga that does not exist" if place[0] in (SIGNALS, DLQ) and _is_readable(record) else "unknown"


def _is_readable(record: Poison) -> bool:
    """Whether the services can decode a signal or dead letter."""
    try:
        parse(record.topic, record.value, [(name, value or b"") for name, value in record.headers], ROWS_CHANGELOG)
    except BadMessage:
        return False
    return True


def _id(record: Poison) -> str | None:
    try:
        found = json.loads(record.value or b"")["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
