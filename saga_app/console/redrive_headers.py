"""Headers of a record that an operator sent again because its message cannot be decoded."""

from collections.abc import Iterable

from saga_app.saga.record_id import RecordId, parse_record_id

#: The record id of the dead letter, and the operator.
REDRIVEN, REDRIVEN_BY = "redriven", "redriven-by"


def redriven_from(headers: Iterable[tuple[str, bytes | None]] | None) -> RecordId | None:
    """The dead letter from which the record with these headers was sent again, or None."""
    for name, value in headers or ():
        if name == REDRIVEN:
            return parse_record_id((value or b"").decode("utf-8", "replace"))
    return None
