"""Before partitions are given back, rows of others are overwritten; never by who may have lost them."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from saga_app.stream.consume import on_revoke
from saga_app.stream.consume.lease import Fenced
from saga_app.stream.consume.phase import Phase

ROWS, REQUESTS = TP("rows-changelog", 1), TP("in", 1)


class Table:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.mended: list[tuple[int, int]] = []

    async def mend(self, partition: int, end: int) -> None:
        self.mended.append((partition, end))


class Worker:
    """The consumer, as far as a last look needs it."""

    def __init__(self) -> None:
        self.table = Table()
        self.holds: bool | Exception = True
        self.said: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.log = SimpleNamespace(warning=lambda text, error: self.said.append(text % error))
        self.transport = SimpleNamespace(lease=SimpleNamespace(holds=self._holds))
        self._thread = SimpleNamespace(should_stop=False)

    def _holds(self) -> bool:
        if isinstance(self.holds, Exception):
            raise self.holds
        return self.holds

    def _table(self, tp: TP) -> Any:
        return self.table if tp.topic == ROWS.topic else None

    def assignment(self) -> set[TP]:
        return {ROWS, REQUESTS}

    async def highwaters(self, *tps: TP) -> Mapping[TP, int]:
        await self.answers.wait()
        return dict.fromkeys(tps, 7)


async def test_the_ends_of_the_changelogs_are_asked_for_and_nothing_else() -> None:
    await on_revoke.mend(worker := Worker(), Phase.STREAMING)
    assert worker.table.mended == [(1, 7)]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.STREAMING])
async def test_a_worker_that_has_not_written_yet_has_nothing_to_mend(phase: Phase) -> None:
    await on_revoke.mend(worker := Worker(), phase)
    assert worker.table.mended == []


@pytest.mark.parametrize("holds", [False, Fenced("another one owns them")])
async def test_who_may_have_lost_its_partitions_leaves_all_as_it_is(holds: bool | Exception) -> None:
    worker = Worker()
    worker.holds = holds
    await on_revoke.mend(worker, Phase.STREAMING)
    assert worker.table.mended == []


async def test_a_crashed_thread_is_not_asked() -> None:
    worker = Worker()
    worker._thread.should_stop = True
    worker.answers.clear()
    async with asyncio.timeout(1):
        await on_revoke.mend(worker, Phase.STREAMING)


async def test_a_broker_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_revoke, "LOOK_S", 0.01)
    worker = Worker()
    worker.answers.clear()
    async with asyncio.timeout(1):
        await on_revoke.mend(worker, Phase.STREAMING)
    assert worker.said == ["whether foreign rows stand behind ours could not be seen: TimeoutError()"]
