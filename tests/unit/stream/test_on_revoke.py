"""Before partitions are revoked, foreign rows are overwritten; never by a worker whose lease has expired."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from structlog.testing import capture_logs

from saga_app.stream.consume import on_revoke
from saga_app.stream.consume.lease import Fenced
from saga_app.stream.consume.phase import Phase

ROWS, REQUESTS = TP("rows-changelog", 1), TP("in", 1)


class Table:
    """Records which partitions were repaired."""

    def __init__(self) -> None:
        self.repaired: list[tuple[int, int]] = []

    async def repair_changelog(self, partition: int, end: int) -> None:
        self.repaired.append((partition, end))


class Worker:
    """The consumer, as far as `repair_changelogs` needs it."""

    def __init__(self) -> None:
        self.table = Table()
        self.holds: bool | Exception = True
        self.answers = asyncio.Event()
        self.answers.set()
        self.transport = SimpleNamespace(lease=SimpleNamespace(holds=self._holds))
        self.thread = SimpleNamespace(should_stop=False)

    def _holds(self) -> bool:
        if isinstance(self.holds, Exception):
            raise self.holds
        return self.holds

    def table_of(self, tp: TP) -> Any:
        return self.table if tp.topic == ROWS.topic else None

    def assignment(self) -> set[TP]:
        return {ROWS, REQUESTS}

    async def highwaters(self, *tps: TP) -> Mapping[TP, int]:
        await self.answers.wait()
        return dict.fromkeys(tps, 7)


async def test_the_ends_of_the_changelogs_are_asked_for_and_nothing_else() -> None:
    await on_revoke.repair_changelogs(worker := Worker(), Phase.STREAMING)
    assert worker.table.repaired == [(1, 7)]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.STREAMING])
async def test_a_worker_that_has_not_written_yet_has_nothing_to_mend(phase: Phase) -> None:
    await on_revoke.repair_changelogs(worker := Worker(), phase)
    assert worker.table.repaired == []


@pytest.mark.parametrize("holds", [False, Fenced("another one owns them")])
async def test_who_may_have_lost_its_partitions_leaves_all_as_it_is(holds: bool | Exception) -> None:
    worker = Worker()
    worker.holds = holds
    await on_revoke.repair_changelogs(worker, Phase.STREAMING)
    assert worker.table.repaired == []


async def test_a_crashed_thread_is_not_asked() -> None:
    worker = Worker()
    worker.thread.should_stop = True
    worker.answers.clear()
    async with asyncio.timeout(1):
        await on_revoke.repair_changelogs(worker, Phase.STREAMING)


async def test_a_broker_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_revoke, "REPAIR_TIMEOUT_S", 0.01)
    worker = Worker()
    worker.answers.clear()
    async with asyncio.timeout(1):
        with capture_logs() as logs:
            await on_revoke.repair_changelogs(worker, Phase.STREAMING)
    assert [line["error"] for line in logs] == ["TimeoutError()"]
