"""An offset is committed only when all records before it are finished, in whatever order they finish."""

from typing import Any

import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.ledger import Ledger
from tests.fakes.stream import batch, finish_all

#: Arguments of the methods of `LedgerModel`, by name; see there.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fetch"), st.integers(0, 2), st.lists(st.integers(1, 4), min_size=1, max_size=6)),
        st.tuples(st.just("finish"), st.integers(0, 50), st.integers(0, 50)),
        st.tuples(st.just("finish_all"), st.integers(0, 50), st.none()),
        st.tuples(st.just("commit"), st.booleans(), st.none()),
        st.tuples(st.just("forget"), st.integers(0, 3), st.none()),
    ),
    max_size=60,
)


class LedgerModel:
    """A ledger of three partitions, and sets of unfinished offsets to compare it with."""

    def __init__(self) -> None:
        self.ledger = Ledger(limit=1000)
        self.next_offset = dict.fromkeys(range(3), 0)
        self.committed = dict.fromkeys(range(3), 0)
        self.batches: list[Batch] = []
        self.unfinished: dict[int, set[int]] = {p: set() for p in range(3)}
        self._offsets: dict[int, list[int]] = {}

    def fetch(self, partition: int, gaps: list[int]) -> None:
        """Fetch one record for each gap, which is its distance from the previous offset."""
        offsets = []
        for gap in gaps:
            offsets.append(self.next_offset[partition] + gap - 1)
            self.next_offset[partition] = offsets[-1] + 1
        fetched = self.ledger.add(batch(offsets, partition))
        self._offsets[id(fetched)] = offsets
        self.batches.append(fetched)
        self.unfinished[partition] |= set(offsets)

    def finish(self, batch_number: int, index: int) -> None:
        """Finish one record; both numbers wrap around."""
        if self.batches:
            fetched = self.batches[batch_number % len(self.batches)]
            offsets = self._offsets[id(fetched)]
            left = fetched.left
            fetched.finish(index % len(offsets))
            if fetched.live and fetched.left < left:
                self.unfinished[fetched.partition].discard(offsets[index % len(offsets)])

    def finish_all(self, batch_number: int, _: Any) -> None:
        """Finish all records of a batch; the number wraps around."""
        if self.batches:
            fetched = self.batches[batch_number % len(self.batches)]
            left = fetched.left
            finish_all(fetched)
            if fetched.live and left:
                self.unfinished[fetched.partition] -= set(self._offsets[id(fetched)])

    def commit(self, succeeds: bool, _: Any) -> None:
        """Check the committable offsets, and commit them if the commit succeeds."""
        moved = self.ledger.committable()
        for tp, offset in moved.items():
            assert offset > self.committed[tp.partition], "a committable offset has not advanced"
            first_unfinished = min(self.unfinished[tp.partition], default=self.next_offset[tp.partition])
            assert offset <= first_unfinished, "a committable offset is past an unfinished record"
        if succeeds:
            self.ledger.mark_committed(moved)
            self.committed.update((tp.partition, offset) for tp, offset in moved.items())

    def forget(self, partition: int, _: Any) -> None:
        """Revoke a partition (3: all of them), and assign it again at its committed offset."""
        revoked = range(3) if partition == 3 else [partition]
        self.ledger.forget(None if partition == 3 else {TP("in", partition)})
        for p in revoked:
            self.unfinished[p] = set()
            self.next_offset[p] = self.committed[p]


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_no_unfinished_record_is_ever_committed(steps: list[tuple[str, Any, Any]]) -> None:
    model = LedgerModel()
    for method, first, second in steps:
        getattr(model, method)(first, second)
        assert model.ledger.inflight == sum(map(len, model.unfinished.values()))
    for fetched in model.batches:
        finish_all(fetched)
    model.unfinished = {p: set() for p in range(3)}
    model.commit(True, None)
    assert model.ledger.inflight == 0
    assert not model.ledger.committable(), "offsets are left to commit although all were committed"


def test_the_committable_offset_is_that_of_the_first_unfinished_record() -> None:
    ledger = Ledger(limit=100)
    first, second = ledger.add(batch([3, 4, 9])), ledger.add(batch([12, 13]))
    finish_all(second)
    assert ledger.committable() == {}
    first.finish(0)
    first.finish(2)
    assert ledger.committable() == {TP("in", 0): 4}
    first.finish(1)
    assert ledger.committable() == {TP("in", 0): 14}


def test_a_failed_commit_is_repeated() -> None:
    ledger = Ledger(limit=100)
    finish_all(ledger.add(batch([0])))
    assert ledger.committable() == ledger.committable() == {TP("in", 0): 1}
    ledger.mark_committed(ledger.committable())
    assert ledger.committable() == {}


def test_records_finished_after_their_partition_was_revoked_are_ignored() -> None:
    ledger = Ledger(limit=100)
    old = ledger.add(batch([0, 1]))
    ledger.forget()
    new = ledger.add(batch([0, 1]))
    finish_all(old)
    assert (ledger.inflight, ledger.committable()) == (2, {})
    new.finish(0)
    assert (ledger.inflight, ledger.committable()) == (1, {TP("in", 0): 1})


def test_a_record_that_is_finished_twice_counts_once() -> None:
    ledger = Ledger(limit=100)
    fetched = ledger.add(batch([0, 1]))
    fetched.finish(0)
    fetched.finish(0)
    assert ledger.inflight == 1


async def test_fetching_stops_at_the_limit_until_an_eighth_of_it_is_free() -> None:
    ledger = Ledger(limit=16)
    fetched = ledger.add(batch(range(16)))
    assert not await ledger.wait_for_headroom(0.01)
    fetched.finish(5)
    assert ledger.headroom == 0
    fetched.finish(0)
    assert ledger.headroom == 2
    assert await ledger.wait_for_headroom(0.01)


def test_the_age_is_that_of_the_oldest_unfinished_batch() -> None:
    ledger = Ledger(limit=100)
    assert ledger.oldest_s(50.0) == 0.0
    first, second, other = (ledger.add(batch(*where)) for where in (([0, 1], 0), ([2], 0), ([0], 1)))
    first.fetched_at, second.fetched_at, other.fetched_at = 10.0, 20.0, 15.0
    assert ledger.oldest_s(50.0) == 40.0
    first.finish(0)
    assert ledger.oldest_s(50.0) == 40.0, "a batch with an unfinished record was ignored"
    first.finish(1)
    assert ledger.oldest_s(50.0) == 35.0, "the oldest unfinished batch is now that of the other partition"
    finish_all(other)
    assert ledger.oldest_s(50.0) == 30.0
    ledger.forget()
    assert ledger.oldest_s(50.0) == 0.0


@pytest.mark.parametrize("progress", ["started", "finished"])
def test_a_batch_overtaken_by_its_successor_is_detected(progress: str) -> None:
    ledger = Ledger(limit=100)
    first, second = ledger.add(batch([0])), ledger.add(batch([1]))
    assert ledger.overtaken_batch() is None, "no batch was started yet"
    if progress == "finished":
        finish_all(second)
    else:
        second.is_started = True
    assert ledger.overtaken_batch() is first


@pytest.mark.field(35)
def test_markers_after_the_last_record_are_committed_once_it_is_finished() -> None:
    ledger, tp = Ledger(limit=10), TP("in", 0)
    fetched = ledger.add(batch([4, 5]))
    ledger.skip(tp, 6, 9)
    assert ledger.committable() == {}
    finish_all(fetched)
    assert ledger.committable() == {tp: 9}
    ledger.mark_committed({tp: 9})
    ledger.skip(tp, 9, 10)
    assert ledger.committable() == {tp: 10}


@pytest.mark.field(35)
def test_a_partition_with_only_an_aborted_transaction_is_committed() -> None:
    ledger, tp = Ledger(limit=10), TP("in", 3)
    ledger.skip(tp, 0, 4)
    assert ledger.committable() == {tp: 4}
    ledger.forget({tp})
    assert ledger.committable() == {}


@pytest.mark.field(34)
def test_a_recreated_topic_is_committed_from_its_beginning() -> None:
    """The offsets of the group were deleted with the old topic, so lower ones have to be committed."""
    ledger, tp = Ledger(limit=100), TP("in", 0)
    finish_all(ledger.add(batch([7, 8])))
    ledger.mark_committed(ledger.committable())
    new = ledger.add(batch([0, 1]))
    assert ledger.committable() == {}
    new.finish(0)
    assert ledger.committable() == {tp: 1}
    ledger.mark_committed({tp: 1})
    finish_all(new)
    assert ledger.committable() == {tp: 2}


@pytest.mark.field(34)
def test_records_of_a_deleted_topic_hold_back_commits_of_the_new_one() -> None:
    ledger, tp = Ledger(limit=100), TP("in", 0)
    first_old, last_old = ledger.add(batch([7])), ledger.add(batch([8, 9]))
    new = ledger.add(batch([0, 1]))
    finish_all(new)
    first_old.finish(0)
    assert (ledger.committable(), ledger.inflight) == ({}, 2)
    finish_all(last_old)
    assert (ledger.committable(), ledger.inflight) == ({tp: 2}, 0)


@pytest.mark.field(34)
def test_markers_at_the_beginning_of_a_recreated_topic_are_committed() -> None:
    ledger, tp = Ledger(limit=100), TP("in", 0)
    finish_all(ledger.add(batch([7, 8])))
    ledger.mark_committed(ledger.committable())
    ledger.skip(tp, 0, 3)
    assert ledger.committable() == {tp: 3}


def test_records_deleted_by_retention_do_not_look_like_a_recreated_topic() -> None:
    ledger, tp = Ledger(limit=100), TP("in", 0)
    finish_all(ledger.add(batch([0, 1, 2])))
    ledger.mark_committed(ledger.committable())
    fetched = ledger.add(batch([7, 8, 9]))
    ledger.skip(tp, 3, 7)
    assert ledger.committable() == {tp: 7}
    finish_all(fetched)
    assert ledger.committable() == {tp: 10}
