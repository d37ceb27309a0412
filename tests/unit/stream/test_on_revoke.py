"""Before partitions are revoked, foreign rows are overwritten, but never by a worker whose lease has expired."""

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

CHANGELOG, REQUESTS = TP("rows-changelog", 1), TP("in", 1)


class FakeTable:
    """Records the partitions that were repaired, with the end of their changelog."""

    def __init__(self) -> None:
        self.repaired: list[tuple[int, int]] = []

    async def repair_changelog(self, partition: int, end: int) -> None:
        self.repaired.append((partition, end))


class FakeConsumer:
    """What `repair_changelogs` uses of the consumer. It has one partition of a changelog and one of requests.

    holds: the result of `lease.holds()`, or the exception that it raises
    end_offsets_known: while it is not set, the broker does not answer
    """

    def __init__(self) -> None:
        self.table = FakeTable()
        self.holds: bool | Exception = True
        self.end_offsets_known = asyncio.Event()
        self.end_offsets_known.set()
        self.transport = SimpleNamespace(lease=SimpleNamespace(holds=self._holds))
        self.thread = SimpleNamespace(should_stop=False)

    def _holds(self) -> bool:
        if isinstance(self.holds, Exception):
            raise self.holds
        return self.holds

    def table_of(self, tp: TP) -> Any:
        return self.table if tp.topic == CHANGELOG.topic else None

    def assignment(self) -> set[TP]:
        return {CHANGELOG, REQUESTS}

    async def highwaters(self, *tps: TP) -> Mapping[TP, int]:
        await self.end_offsets_known.wait()
        return dict.fromkeys(tps, 7)


async def test_only_changelogs_are_repaired_up_to_their_ends() -> None:
    await on_revoke.repair_changelogs(consumer := FakeConsumer(), Phase.STREAMING)
    assert consumer.table.repaired == [(1, 7)]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.STREAMING])
async def test_a_worker_that_has_not_written_rows_repairs_nothing(phase: Phase) -> None:
    await on_revoke.repair_changelogs(consumer := FakeConsumer(), phase)
    assert consumer.table.repaired == []


@pytest.mark.parametrize("holds", [False, Fenced("another one owns them")])
async def test_a_worker_without_a_valid_lease_repairs_nothing(holds: bool | Exception) -> None:
    consumer = FakeConsumer()
    consumer.holds = holds
    await on_revoke.repair_changelogs(consumer, Phase.STREAMING)
    assert consumer.table.repaired == []


async def test_a_crashed_thread_is_not_asked_for_end_offsets() -> None:
    consumer = FakeConsumer()
    consumer.thread.should_stop = True
    consumer.end_offsets_known.clear()
    async with asyncio.timeout(1):
        await on_revoke.repair_changelogs(consumer, Phase.STREAMING)


async def test_an_unanswered_request_does_not_block_the_revocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_revoke, "REPAIR_TIMEOUT_S", 0.01)
    consumer = FakeConsumer()
    consumer.end_offsets_known.clear()
    async with asyncio.timeout(1):
        with capture_logs() as logs:
            await on_revoke.repair_changelogs(consumer, Phase.STREAMING)
    assert [line["error"] for line in logs] == ["TimeoutError()"]
