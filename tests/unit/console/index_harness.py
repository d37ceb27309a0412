"""The console's index with its fold, fed by the test instead of the reader thread."""

from collections.abc import Iterable

from saga_app.console.index import overtaking
from saga_app.console.index.counters import Figures
from saga_app.console.index.fold import Changes, Fold
from saga_app.console.index.index import Index
from tests.fakes.record import FakeRecord


class IndexHarness:
    """An open index. `live`: whether the fold starts as if it had read the backlog already."""

    def __init__(self, url: str, live: bool = True) -> None:
        self.index = Index(url)
        self.index.open()
        self.live = live
        self.restart()

    def restart(self) -> None:
        """Replace the fold by one with the state that a restarted console has."""
        self.fold = Fold(self.index, Figures(self.index.counts()), self.index.seq)
        for row in self.index.read_unfinished():
            self.fold.restore(row)
        self.fold.live = self.live

    def rebuild(self) -> None:
        """Empty the index, under the cluster id "test", and restart."""
        self.index.rebuild("test")
        self.restart()

    def read(self, records: Iterable[FakeRecord]) -> Changes:
        """Fold one batch of records and write the changes to the index."""
        records = list(records)
        changes = self.fold.batch(records)
        offsets = {(record.topic, record.partition): record.offset + 1 for record in records}
        self.index.write(changes, offsets, self.fold.seq)
        return changes

    def finish_backlog(self) -> int:
        """Do what the reader does at the end of the backlog: fill in how many sagas each one overtook.

        Returns the number of sagas that were updated.
        """
        self.fold.live = True
        return overtaking.fill_in_counts(self.index)

    def close(self) -> None:
        """Close the index."""
        self.index.close()
