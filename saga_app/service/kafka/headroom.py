"""Headroom of the embedded broker. It silently drops records that do not fit, so new sagas are refused before that."""

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.messages import Row
from saga_app.stream.capacity import MAX_BYTES, REFUSE_AT, Capacity, record_size

#: Bytes, including headers, that one saga writes to its changelog, which is the fullest topic.
SAGA_BYTES = 4_500


def refusal(capacity: Capacity, coming: int, partitions: int) -> str | None:
    """Why the broker has no room for `coming` sagas that have not written their records yet, or None."""
    fill = capacity.fill_with(coming, SAGA_BYTES, partitions)
    if fill < REFUSE_AT:
        return None
    return (
        f"the embedded broker holds {MAX_BYTES // 1024 // 1024} MiB per partition in memory, and its fullest partition "
        f"would reach {fill:.0%}; it silently drops records that do not fit. Wait until other sagas have ended, "
        "send fewer users, restart with `saga up`, or use a real Kafka: saga up --broker kafka://HOST:PORT"
    )


class ChangelogRoom:
    """Tracks how full the changelog of the saga rows is, which fills faster than any other topic."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.capacity = Capacity()
        self.open: set[str] = set()

    def row_written(self, partition: int, row: Row, value: bytes) -> None:
        """Count a row that was written to the changelog."""
        self.capacity.count(ROWS_CHANGELOG, partition, record_size(row.id.encode(), value))
        (self.open.discard if row.ended else self.open.add)(row.id)

    def refusal(self, count: int) -> str | None:
        """Why `count` more sagas cannot be accepted, or None."""
        return refusal(self.capacity, count + len(self.open), self.partitions)
