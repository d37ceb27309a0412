"""An index that has read what stands in the logs."""

from collections.abc import Iterable

from saga_app.console.index import overtaking
from saga_app.console.index.counters import Figures
from saga_app.console.index.fold import Changes, Fold
from saga_app.console.index.index import Index
from tests.fakes.record import FakeRecord


class FilledIndex:
    """Reads records into an index, as the reader does, but when it is told to."""

    def __init__(self, url: str, live: bool = True) -> None:
        self.index = Index(url)
        self.index.open()
        self.live = live
        self.restart()

    def restart(self) -> None:
        """As a new process would begin."""
        self.fold = Fold(self.index, Figures(self.index.counts()), self.index.seq)
        for row in self.index.unfinished():
            self.fold.restore(row)
        self.fold.live = self.live

    def read(self, records: Iterable[FakeRecord]) -> Changes:
        """One batch."""
        records = list(records)
        changes = self.fold.batch(records)
        after = {(raw.topic, raw.partition): raw.offset + 1 for raw in records}
        self.index.write(changes, after, self.fold.seq)
        return changes

    def settle(self) -> int:
        """What is done once all has been caught up with."""
        self.fold.live = True
        return overtaking.fill_in_counts(self.index)

    def close(self) -> None:
        """Give the index up."""
        self.index.close()
