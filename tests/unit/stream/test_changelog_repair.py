"""Foreign rows between own ones are detected, and own rows of their keys are written again."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.stream.table import changelog_repair as module
from saga_app.stream.table.changelog_repair import ChangelogRepair


class Changelog:
    """Returns the keys at offsets, and records which offsets were read and which keys rewritten."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.rewritten: list[tuple[int, bytes]] = []
        self.repair = ChangelogRepair(self.keys_at, lambda partition, key: self.rewritten.append((partition, key)))

    async def keys_at(self, partition: int, offsets: Sequence[int]) -> set[bytes]:
        self.asked += offsets
        return {b"key-%d" % offset for offset in offsets}

    async def looked(self) -> None:
        while self.repair._tasks:
            await asyncio.gather(*self.repair._tasks)


async def test_rows_that_follow_one_another_are_all_ours() -> None:
    log = Changelog()
    log.repair.check(0, have=9, own=[10, 11])
    log.repair.check(0, have=11, own=[12])
    await log.looked()
    assert log.asked == []


async def test_a_foreign_row_is_mended_once() -> None:
    log = Changelog()
    log.repair.check(0, have=9, own=[10, 12])
    log.repair.check(0, have=9, own=[13])
    await log.looked()
    assert (log.asked, log.rewritten) == ([11], [(0, b"key-11")])


async def test_after_a_rebalance_the_recovery_knows_the_changelog() -> None:
    log = Changelog()
    log.repair.check(0, have=9, own=[10])
    log.repair.forget()
    log.repair.check(0, have=20, own=[21])
    await log.looked()
    assert log.asked == []


async def test_a_broker_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_INTERVAL_S", 0.0)
    log, silent = Changelog(), [1, 2]

    async def away_at_first(partition: int, offsets: Sequence[int]) -> set[bytes]:
        if silent:
            raise TimeoutError(f"try {silent.pop()}")
        return await log.keys_at(partition, offsets)

    log.repair._keys_at = away_at_first
    log.repair.check(0, have=0, own=[2])
    await log.looked()
    assert (silent, log.rewritten) == ([], [(0, b"key-1")])


async def test_a_rebalance_ends_the_asking() -> None:
    asked = asyncio.Event()

    async def away(_partition: int, _offsets: Sequence[int]) -> set[bytes]:
        asked.set()
        raise TimeoutError

    repair = ChangelogRepair(away, lambda partition, key: None)
    repair.check(0, have=0, own=[2])
    await asyncio.wait_for(asked.wait(), 5)
    repair.forget()
    await asyncio.wait_for(asyncio.gather(*repair._tasks, return_exceptions=True), 5)


async def test_a_last_look_that_is_broken_off_mends_nothing_later() -> None:
    answers = asyncio.Event()

    async def late(_partition: int, _offsets: Sequence[int]) -> set[bytes]:
        await answers.wait()
        return {b"key"}

    log = Changelog()
    log.repair._keys_at = late
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(log.repair.finish(0, have=0, end=3), 0.01)
    answers.set()
    await asyncio.gather(*log.repair._tasks, return_exceptions=True)
    assert log.rewritten == []


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=8), max_size=10))
def test_exactly_the_foreign_rows_before_our_last_one_are_asked_for(bursts: list[list[bool]]) -> None:
    async def main() -> None:
        log, offset, foreign, pending = Changelog(), 0, set[int](), set[int]()
        for burst in bursts:
            own = []
            for ours in burst:
                if ours:
                    own.append(offset)
                    foreign |= pending
                    pending = set()
                else:
                    pending.add(offset)
                offset += 1
            if own:
                log.repair.check(0, -1, own)
        await log.looked()
        assert sorted(log.asked) == sorted(foreign)
        await log.repair.finish(0, -1, offset)
        assert sorted(log.asked) == sorted(foreign | pending), "with the end of the changelog also those behind it"

    asyncio.run(main())
