"""Reads all topics into the index and publishes events, in its own thread, so that the web server stays responsive.

A batch is folded, written in one transaction together with its offsets, and only then published. A published event is
therefore in the index, and after a restart reading continues from the stored offsets: no gaps, no duplicates.
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

#: Maximum number of records in a transaction; time to gather them under load, and timeout for the first (seconds).
BATCH_RECORDS, GATHER_S, WAIT_S = 5_000, 0.02, 0.25

#: The same while catching up, when latency does not matter and larger batches save repeated writes of a saga.
CATCH_UP_BATCH_RECORDS = 10_000

#: If more sagas than this are missing in the search index, it is filled even while records are waiting.
MAX_UNSEARCHED = 50_000

#: Maximum delay before the next attempt if Kafka or the database is unavailable (seconds).
RETRY_DELAY_S = 1.0

#: Number of records of each batch whose delay is measured.
DELAY_SAMPLES = 20


class Reader:
    """The reader. Call `start`, then `stop`. `not_ready` is the reason why the index is not up to date, or None.

    Callbacks, called in the reader's thread: `publish` with (epoch, last event number, events) after each commit,
    `tick` every second with the statistics, and `died` with an unexpected error that ends the thread.
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
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """Stop after the current batch."""
        self._stopping.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 8.0)

    def interrupt(self, reason: Waiting | Stale) -> None:
        """Interrupt reading: wait until the topics exist (`Waiting`), or rebuild the index (`Stale`). Thread-safe."""
        self._interruption = reason

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
            self.not_ready = "stopping"
        except BaseException as error:
            self.not_ready = f"the reader has crashed: {type(error).__name__}"
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
        """Read until an error occurs; report it, rebuild the index if necessary, and pause before the next attempt."""
        try:
            await self._session()
            return
        except Stale as error:
            log.warning("rebuilding the index", reason=str(error))
            self._rebuild()
            return
        except (Waiting, InUse, WrongEnvironment) as error:
            reason = str(error)
        except (KafkaError, OSError, TimeoutError) as error:
            reason = f"the broker is unavailable: {type(error).__name__}"
        except DBAPIError as error:
            reason = f"SAGA_INDEX cannot be used: {' '.join(str(error.orig).split())}"
            self._rebuild_if_gone()
        except Exception as error:
            log.exception("reader failed, restarting", error=type(error).__name__)
            reason = f"the reader failed: {type(error).__name__}"
        self.broker_up = False
        if reason != self.not_ready:
            log.warning("reader is waiting", reason=reason)
        self.not_ready = reason
        await self._pause(RETRY_DELAY_S * random.uniform(0.5, 1))

    async def _pause(self, seconds: float) -> None:
        await asyncio.to_thread(self._stopping.wait, seconds)

    def _rebuild_if_gone(self) -> None:
        if self.index.database.is_deleted():
            log.warning("index was deleted, rebuilding it")
            self._rebuild()

    def _rebuild(self) -> None:
        self.not_ready = "the index is being rebuilt from Kafka"
        self.index.rebuild("")
        self.publish(self.index.epoch, self.index.seq, [])

    async def _session(self) -> None:
        self.index.open()
        async with self.make_source() as source:
            if not self.index.belongs_to(source.cluster):
                raise Stale("the index belongs to another Kafka cluster")
            self._interruption = None
            await source.start_at(self._restore())
            self.fold.bulk = source.bulk
            if source.bulk and not self.fold.figures.counts.total():
                self.index.drop_list_indexes()
            self.broker_up = True
            while not self._stopping.is_set():
                await self._batch(source)

    def _restore(self) -> dict[Place, int]:
        """Restore the fold from the index; returns the offsets from which to continue."""
        offsets = self.index.offsets()
        figures = Figures(self.index.counts())
        figures.delays, figures.ended = self.fold.figures.delays, self.fold.figures.ended
        self.fold = Fold(self.index, figures, self.index.seq)
        for row in self.index.read_unfinished():
            self.fold.restore(row)
        if self.capacity is not None:
            self.capacity = Capacity()
        self.publish(self.index.epoch, self.index.seq, [])
        return offsets

    async def _batch(self, source: Source) -> None:
        wait_s = 0.0 if self.index.unsearched and self.fold.live else WAIT_S
        records, after = await source.read(wait_s, BATCH_RECORDS if self.fold.live else CATCH_UP_BATCH_RECORDS)
        if self._interruption is not None:
            raise self._interruption
        if self.index.database.is_deleted():
            raise Stale("the index file was deleted")
        if records:
            self._take(records, after)
        if not self.fold.live:
            self._catch_up(source)
        elif self.index.unsearched and (not records or self.index.unsearched > MAX_UNSEARCHED):
            self.index.fill_search()
        if records:
            await asyncio.sleep(GATHER_S if self.fold.live else 0)

    def _take(self, records: list[Any], after: dict[Place, int]) -> None:
        """Fold a batch of records, write the changes and publish the events."""
        changes: Changes = self.fold.batch(records)
        self.index.write(changes, after, self.fold.seq)
        self.records += len(records)
        self.publish(self.index.epoch, self.fold.seq, changes.events)
        if self.capacity is not None:
            for record in records:
                self.capacity.add(record)
        if self.fold.live:
            now = time()
            sampled = records[:: max(1, len(records) // DELAY_SAMPLES)]
            self.fold.figures.add_delays(now, (now - record_time(record.timestamp, now) for record in sampled))

    def _catch_up(self, source: Source) -> None:
        """Switch to live operation when all records that existed at the start have been read."""
        if source.missing:
            self.not_ready = f"the index is catching up with Kafka: {self.records} records read so far"
            return
        self.index.create_list_indexes()
        counted = overtaking.fill_in_counts(self.index)
        self.fold.live, self.fold.bulk = True, False
        self.not_ready = None
        sagas = self.fold.figures.counts.total()
        log.info("index is up to date", records=self.records, sagas=sagas, overtaking_counts=counted)

    def figures(self) -> dict[str, Any]:
        """The current statistics."""
        return self.fold.figures.snapshot(time()) | {"errors": self.index.errors}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.tick(self.figures())
