"""Reads all topics into the index and tells the stream: in a thread of its own, so that the web stays quick.

A batch is folded, written in one transaction together with its offsets, and only then told. So what was told is in the
index, and what is in the index is read from there on after a restart: no gap, and nothing twice.
"""

import asyncio
import random
import threading
from collections.abc import Callable
from time import time
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from sqlalchemy.exc import DBAPIError

from saga_app.console.index import overtaking
from saga_app.console.index.database import InUse
from saga_app.console.index.counters import Figures
from saga_app.console.index.fold import Changes, Event, Fold
from saga_app.console.index.index import Index
from saga_app.console.kafka.source import Place, Source, Stale, Waiting
from saga_app.environment import WrongEnvironment
from saga_app.saga.times import record_time
from saga_app.stream.capacity import Capacity

log = structlog.get_logger()

#: Records in one transaction at most; time to gather them under load, and to wait for the first (seconds).
MOST, GATHER_S, WAIT_S = 5_000, 0.02, 0.25

#: The same while catching up: nobody waits for the single record, and what changes twice is written once.
MOST_OLD = 10_000

#: Pause before the next try, when something is away (seconds).
AGAIN_S = 1.0

#: Of each batch, the delay of so many records is looked at.
SAMPLED = 20


class Reader:
    """`start`, then `stop`. `not_ready` says why the index is not up to date yet.

    In the reader's thread it calls `publish` with what has been committed, `tick` each second with the figures, and
    `died` when it cannot go on, which nothing foreseen leads to.
    """

    def __init__(
        self,
        index: Index,
        make_source: Callable[[], Source],
        publish: Callable[[str, int, list[Event]], None],
        tick: Callable[[dict[str, Any]], None],
        died: Callable[[BaseException], None],
        embedded: bool = False,
    ) -> None:
        self.index, self.make_source = index, make_source
        self.publish, self.tick, self.died = publish, tick, died
        self.capacity = Capacity() if embedded else None
        self.not_ready: str | None = "starting"
        self.broker_up = False
        self.records = 0
        self.fold: Fold = Fold(index, Figures({}), 0)
        self._stopping = threading.Event()
        self._interruption: Exception | None = None
        self._thread = threading.Thread(target=self._main, name="console-reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    async def stop(self) -> None:
        """End after the batch that is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 8.0)

    def interrupt(self, reason: Waiting | Stale) -> None:
        """What is read is not what it was: wait until the topics are there, or read everything again.

        May be called from any thread.
        """
        self._interruption = reason

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
            self.not_ready = "stopping"
        except BaseException as error:
            self.not_ready = f"the reader has died: {type(error).__name__}"
            self.died(error)
        finally:
            self.index.close()

    async def _run(self) -> None:
        ticking = asyncio.create_task(self._tick())
        try:
            while not self._stopping.is_set():
                await self._attempt()
        finally:
            ticking.cancel()

    async def _attempt(self) -> None:
        """Read until something is in the way; say what, and make good what can be."""
        try:
            await self._session()
            return
        except Stale as error:
            log.warning("the index is made anew", reason=str(error))
            self._rebuild()
            return
        except (Waiting, InUse, WrongEnvironment) as error:
            reason = str(error)
        except (KafkaError, OSError, TimeoutError) as error:
            reason = f"the broker is away: {type(error).__name__}"
        except DBAPIError as error:
            reason = f"SAGA_INDEX cannot be used: {' '.join(str(error.orig).split())}"
            self._rebuild_if_gone()
        except Exception as error:
            log.exception("the reader starts again", error=type(error).__name__)
            reason = f"the reader failed: {type(error).__name__}"
        self.broker_up = False
        if reason != self.not_ready:
            log.warning("reading waits", reason=reason)
        self.not_ready = reason
        await self._pause(AGAIN_S * random.uniform(0.5, 1))

    async def _pause(self, seconds: float) -> None:
        await asyncio.to_thread(self._stopping.wait, seconds)

    def _rebuild_if_gone(self) -> None:
        if self.index.database.gone():
            log.warning("the index is gone, it is made anew")
            self._rebuild()

    def _rebuild(self) -> None:
        self.not_ready = "the index is read anew from Kafka"
        self.index.rebuild("")
        self.publish(self.index.epoch, self.index.seq, [])

    async def _session(self) -> None:
        self.index.open()
        async with self.make_source() as source:
            if not self.index.belongs_to(source.cluster):
                raise Stale("the index was made from another cluster")
            self._interruption = None
            await source.start_at(self._restore())
            self.fold.bulk = source.bulk
            self.broker_up = True
            while not self._stopping.is_set():
                await self._batch(source)

    def _restore(self) -> dict[Place, int]:
        """The fold as the index has it, and where to go on reading."""
        offsets = self.index.offsets()
        figures = Figures(self.index.counts())
        figures.delays, figures.ended = self.fold.figures.delays, self.fold.figures.ended
        self.fold = Fold(self.index, figures, self.index.seq)
        for row in self.index.unfinished():
            self.fold.restore(row)
        if self.capacity is not None:
            self.capacity = Capacity()
        self.publish(self.index.epoch, self.index.seq, [])
        return offsets

    async def _batch(self, source: Source) -> None:
        records, after = await source.read(WAIT_S, MOST if self.fold.live else MOST_OLD)
        if self._interruption is not None:
            raise self._interruption
        if self.index.database.gone():
            raise Stale("the index file is gone")
        if records:
            self._take(records, after)
        if not self.fold.live:
            self._catch_up(source)
        if records:
            await asyncio.sleep(GATHER_S if self.fold.live else 0)

    def _take(self, records: list[Any], after: dict[Place, int]) -> None:
        """From records to what the stream tells."""
        changes: Changes = self.fold.batch(records)
        self.index.write(changes, after, self.fold.seq)
        self.records += len(records)
        self.publish(self.index.epoch, self.fold.seq, changes.events)
        if self.capacity is not None:
            for record in records:
                self.capacity.add(record)
        if self.fold.live:
            now = time()
            sampled = records[:: max(1, len(records) // SAMPLED)]
            self.fold.figures.delayed(now, (now - record_time(record.timestamp, now) for record in sampled))

    def _catch_up(self, source: Source) -> None:
        """From the moment on in which everything that was there at the start has been read, all is live."""
        if source.missing:
            self.not_ready = f"the index is being read from Kafka: {self.records} records so far"
            return
        settled = overtaking.settle(self.index)
        self.fold.live, self.fold.bulk = True, False
        self.not_ready = None
        sagas = self.fold.figures.counts.total()
        log.info("the index is up to date", records=self.records, sagas=sagas, settled=settled)

    def figures(self) -> dict[str, Any]:
        """What is counted, now."""
        return self.fold.figures.snapshot(time()) | {"errors": self.index.errors}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.tick(self.figures())
