"""An offset is committed only when all records before it are done, in whatever order they finish."""

from typing import Any

import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.ledger import Ledger
from tests.fakes.stream import batch, finish_all

#: Steps of a life: fetch a run with these gaps between offsets, finish one, a batch, commit, lose or seek a partition.
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


class Life:
    """A ledger beside a plain account of what was fetched and finished."""

    def __init__(self) -> None:
        self.ledger = Ledger(limit=1000)
        self.next = dict.fromkeys(range(3), 0)
        self.committed = dict.fromkeys(range(3), 0)
        self.batches: list[Batch] = []
        self.undone: dict[int, set[int]] = {p: set() for p in range(3)}
        self.offsets: dict[int, list[int]] = {}

    def fetch(self, partition: int, gaps: list[int]) -> None:
        offsets = []
        for gap in gaps:
            offsets.append(self.next[partition] + gap - 1)
            self.next[partition] = offsets[-1] + 1
        made = self.ledger.add(batch(offsets, partition))
        self.offsets[id(made)] = offsets
        self.batches.append(made)
        self.undone[partition] |= set(offsets)

    def finish(self, which: int, index: int) -> None:
        if self.batches:
            made = self.batches[which % len(self.batches)]
            offsets = self.offsets[id(made)]
            left = made.left
            made.finish(index % len(offsets))
            if made.live and made.left < left:
                self.undone[made.partition].discard(offsets[index % len(offsets)])

    def finish_all(self, which: int, _: Any) -> None:
        if self.batches:
            made = self.batches[which % len(self.batches)]
            left = made.left
            finish_all(made)
            if made.live and left:
                self.undone[made.partition] -= set(self.offsets[id(made)])

    def commit(self, succeeds: bool, _: Any) -> None:
        moved = self.ledger.committable()
        for tp, offset in moved.items():
            assert offset > self.committed[tp.partition], "an offset never moves back"
            assert offset <= min(self.undone[tp.partition], default=self.next[tp.partition]), "nothing undone is passed"
        if succeeds:
            self.ledger.mark_committed(moved)
            self.committed.update((tp.partition, offset) for tp, offset in moved.items())

    def forget(self, partition: int, _: Any) -> None:
        """Revoked (3: all of them); it comes back at its committed offset."""
        gone = range(3) if partition == 3 else [partition]
        self.ledger.forget(None if partition == 3 else {TP("in", partition)})
        for p in gone:
            self.undone[p] = set()
            self.next[p] = self.committed[p]


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_no_unfinished_record_is_ever_committed_past(steps: list[tuple[str, Any, Any]]) -> None:
    life = Life()
    for name, first, second in steps:
        getattr(life, name)(first, second)
        assert life.ledger.inflight == sum(map(len, life.undone.values()))
    for made in life.batches:
        finish_all(made)
    life.undone = {p: set() for p in range(3)}
    life.commit(True, None)
    assert life.ledger.inflight == 0
    assert not life.ledger.committable(), "when all is done and committed there is nothing left to commit"


def test_when_all_is_done_all_is_committed() -> None:
    ledger = Ledger(limit=100)
    first, second = ledger.add(batch([3, 4, 9])), ledger.add(batch([12, 13]))
    finish_all(second)
    assert ledger.committable() == {}
    first.finish(0)
    first.finish(2)
    assert ledger.committable() == {TP("in", 0): 4}
    first.finish(1)
    assert ledger.committable() == {TP("in", 0): 14}


def test_a_failed_commit_is_tried_again() -> None:
    ledger = Ledger(limit=100)
    finish_all(ledger.add(batch([0])))
    assert ledger.committable() == ledger.committable() == {TP("in", 0): 1}
    ledger.mark_committed(ledger.committable())
    assert ledger.committable() == {}


def test_what_finishes_after_its_partition_was_revoked_counts_for_nothing() -> None:
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
    made = ledger.add(batch([0, 1]))
    made.finish(0)
    made.finish(0)
    assert ledger.inflight == 1


async def test_fetching_stops_at_the_limit_and_goes_on_when_an_eighth_is_free() -> None:
    ledger = Ledger(limit=16)
    made = ledger.add(batch(range(16)))
    assert not await ledger.wait_for_room(0.01)
    made.finish(5)
    assert ledger.room == 0
    made.finish(0)
    assert ledger.room == 2
    assert await ledger.wait_for_room(0.01)


def test_what_holds_back_a_commit_has_an_age() -> None:
    ledger = Ledger(limit=100)
    assert ledger.oldest_s(50.0) == 0.0
    first, second, other = (ledger.add(batch(*where)) for where in (([0, 1], 0), ([2], 0), ([0], 1)))
    first.fetched_at, second.fetched_at, other.fetched_at = 10.0, 20.0, 15.0
    assert ledger.oldest_s(50.0) == 40.0
    first.finish(0)
    assert ledger.oldest_s(50.0) == 40.0, "its other record is not done"
    first.finish(1)
    assert ledger.oldest_s(50.0) == 35.0, "now the other partition is the one that is held back longest"
    finish_all(other)
    assert ledger.oldest_s(50.0) == 30.0
    ledger.forget()
    assert ledger.oldest_s(50.0) == 0.0


@pytest.mark.parametrize("taken", ["tasks", "finished"])
def test_a_batch_that_was_overtaken_is_noticed(taken: str) -> None:
    ledger = Ledger(limit=100)
    first, second = ledger.add(batch([0])), ledger.add(batch([1]))
    assert ledger.overtaken_batch() is None, "nobody has taken anything yet"
    if taken == "finished":
        finish_all(second)
    else:
        second.is_started = True
    assert ledger.overtaken_batch() is first


@pytest.mark.field(35)
def test_markers_at_the_end_of_a_partition_are_committed_past_when_all_before_them_is_done() -> None:
    ledger, tp = Ledger(limit=10), TP("in", 0)
    made = ledger.add(batch([4, 5]))
    ledger.skip(tp, 6, 9)
    assert ledger.committable() == {}
    finish_all(made)
    assert ledger.committable() == {tp: 9}
    ledger.mark_committed({tp: 9})
    ledger.skip(tp, 9, 10)
    assert ledger.committable() == {tp: 10}


@pytest.mark.field(35)
def test_a_partition_with_nothing_but_an_aborted_transaction_is_committed_past_it() -> None:
    ledger, tp = Ledger(limit=10), TP("in", 3)
    ledger.skip(tp, 0, 4)
    assert ledger.committable() == {tp: 4}
    ledger.forget({tp})
    assert ledger.committable() == {}


@pytest.mark.field(34)
def test_a_topic_that_was_created_again_is_committed_from_its_beginning() -> None:
    """Its group's offsets were deleted with it: those of the new one have to be committed though they are lower."""
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
def test_work_on_a_deleted_topic_holds_the_commits_of_the_new_one_until_it_is_done() -> None:
    ledger, tp = Ledger(limit=100), TP("in", 0)
    old, older = ledger.add(batch([7])), ledger.add(batch([8, 9]))
    new = ledger.add(batch([0, 1]))
    finish_all(new)
    old.finish(0)
    assert (ledger.committable(), ledger.inflight) == ({}, 2)
    finish_all(older)
    assert (ledger.committable(), ledger.inflight) == ({tp: 2}, 0)


@pytest.mark.field(34)
def test_markers_at_the_beginning_of_a_topic_that_was_created_again_are_committed_past() -> None:
    ledger, tp = Ledger(limit=100), TP("in", 0)
    finish_all(ledger.add(batch([7, 8])))
    ledger.mark_committed(ledger.committable())
    ledger.skip(tp, 0, 3)
    assert ledger.committable() == {tp: 3}


def test_records_that_retention_has_deleted_before_those_that_came_are_no_new_topic() -> None:
    ledger, tp = Ledger(limit=100), TP("in", 0)
    finish_all(ledger.add(batch([0, 1, 2])))
    ledger.mark_committed(ledger.committable())
    made = ledger.add(batch([7, 8, 9]))
    ledger.skip(tp, 3, 7)
    assert ledger.committable() == {tp: 7}
    finish_all(made)
    assert ledger.committable() == {tp: 10}
