"""Foreign rows between own ones are detected, and own rows of their keys are written again."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.stream.table import changelog_repair
from saga_app.stream.table.changelog_repair import ChangelogRepair


class FakeChangelog:
    """A `ChangelogRepair` of a changelog with the key `key-N` at offset N.

    It records the offsets that were read, and the partitions and keys that were rewritten.
    """

    def __init__(self) -> None:
        self.offsets_read: list[int] = []
        self.rewritten: list[tuple[int, bytes]] = []
        self.repair = ChangelogRepair(self.keys_at, lambda partition, key: self.rewritten.append((partition, key)))

    async def keys_at(self, partition: int, offsets: Sequence[int]) -> set[bytes]:
        self.offsets_read += offsets
        return {b"key-%d" % offset for offset in offsets}

    async def wait_for_repairs(self) -> None:
        while self.repair._tasks:
            await asyncio.gather(*self.repair._tasks)


async def test_consecutive_own_rows_need_no_repair() -> None:
    changelog = FakeChangelog()
    changelog.repair.check(0, have=9, own=[10, 11])
    changelog.repair.check(0, have=11, own=[12])
    await changelog.wait_for_repairs()
    assert changelog.offsets_read == []


async def test_the_key_of_a_foreign_row_is_rewritten_once() -> None:
    changelog = FakeChangelog()
    changelog.repair.check(0, have=9, own=[10, 12])
    changelog.repair.check(0, have=9, own=[13])
    await changelog.wait_for_repairs()
    assert (changelog.offsets_read, changelog.rewritten) == ([11], [(0, b"key-11")])


async def test_offsets_read_by_a_recovery_are_not_checked_again() -> None:
    changelog = FakeChangelog()
    changelog.repair.check(0, have=9, own=[10])
    changelog.repair.forget()
    changelog.repair.check(0, have=20, own=[21])
    await changelog.wait_for_repairs()
    assert changelog.offsets_read == []


async def test_foreign_rows_are_read_again_until_the_broker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelog_repair, "RETRY_INTERVAL_S", 0.0)
    changelog, failures = FakeChangelog(), [TimeoutError("first"), TimeoutError("second")]

    async def fail_twice(partition: int, offsets: Sequence[int]) -> set[bytes]:
        if failures:
            raise failures.pop(0)
        return await changelog.keys_at(partition, offsets)

    changelog.repair._keys_at = fail_twice
    changelog.repair.check(0, have=0, own=[2])
    await changelog.wait_for_repairs()
    assert (failures, changelog.rewritten) == ([], [(0, b"key-1")])


async def test_a_rebalance_ends_the_retries() -> None:
    attempted = asyncio.Event()

    async def time_out(_partition: int, _offsets: Sequence[int]) -> set[bytes]:
        attempted.set()
        raise TimeoutError

    repair = ChangelogRepair(time_out, lambda partition, key: None)
    repair.check(0, have=0, own=[2])
    await asyncio.wait_for(attempted.wait(), 5)
    repair.forget()
    await asyncio.wait_for(asyncio.gather(*repair._tasks, return_exceptions=True), 5)


async def test_a_cancelled_finish_rewrites_nothing_later() -> None:
    answered = asyncio.Event()

    async def answer_late(_partition: int, _offsets: Sequence[int]) -> set[bytes]:
        await answered.wait()
        return {b"key"}

    changelog = FakeChangelog()
    changelog.repair._keys_at = answer_late
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(changelog.repair.finish(0, have=0, end=3), 0.01)
    answered.set()
    await asyncio.gather(*changelog.repair._tasks, return_exceptions=True)
    assert changelog.rewritten == []


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=8), max_size=10))
def test_exactly_the_foreign_rows_before_the_last_own_row_are_read(bursts: list[list[bool]]) -> None:
    """A burst is a list of rows, True for own ones. `finish` reads the foreign rows after the last own row as well."""

    async def check_bursts() -> None:
        changelog, offset, foreign, foreign_at_end = FakeChangelog(), 0, set[int](), set[int]()
        for burst in bursts:
            own = []
            for is_own in burst:
                if is_own:
                    own.append(offset)
                    foreign |= foreign_at_end
                    foreign_at_end = set()
                else:
                    foreign_at_end.add(offset)
                offset += 1
            if own:
                changelog.repair.check(0, -1, own)
        await changelog.wait_for_repairs()
        assert sorted(changelog.offsets_read) == sorted(foreign)
        await changelog.repair.finish(0, -1, offset)
        assert sorted(changelog.offsets_read) == sorted(foreign | foreign_at_end)

    asyncio.run(check_bursts())
