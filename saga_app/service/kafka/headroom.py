"""Whether the embedded broker has room for more sagas: it drops silently what does not fit, so we refuse before."""

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.messages import Row
from saga_app.stream.capacity import MAX_BYTES, REFUSE_AT, Capacity, record_size

#: What one saga writes to the fullest topic, the changelog, in the embedded broker (bytes, headers and all).
SAGA_BYTES = 4_500


def refusal(capacity: Capacity, coming: int, partitions: int) -> str | None:
    """Why so many sagas that have still to write all their records do not fit any more, or None."""
    fill = capacity.fill_with(coming, SAGA_BYTES, partitions)
    if fill < REFUSE_AT:
        return None
    return (
        f"the embedded broker keeps {MAX_BYTES // 1024 // 1024} MiB a partition in memory, and with these its "
        f"fullest would come to {fill:.0%}; it drops silently what does not fit. Wait until others have ended, "
        "send fewer at once, start again with `saga up`, or use a real Kafka: saga up --broker kafka://HOST:PORT"
    )


class ChangelogRoom:
    """Counts what the Provisioner itself writes: nothing else fills a topic as much."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.capacity = Capacity()
        self.open: set[str] = set()

    def wrote(self, partition: int, row: Row, value: bytes) -> None:
        """A row went to the changelog."""
        self.capacity.count(ROWS_CHANGELOG, partition, record_size(row.id.encode(), value))
        (self.open.discard if row.ended else self.open.add)(row.id)

    def refuse(self, count: int) -> str | None:
        """Why so many more sagas cannot be taken, or None."""
        return refusal(self.capacity, count + len(self.open), self.partitions)
