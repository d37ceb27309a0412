"""Runs a pool with fakes for the app, librdkafka and the stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

from saga_app.stream import Batch, Outputs, Pool
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.produce.batching_producer import BatchingProducer
from tests.fakes.stream import FakeProducer, batch, until


class FakeApp:
    """An app that records its crashes."""

    def __init__(self, producer: BatchingProducer) -> None:
        self.should_stop = False
        self.crashes: list[BaseException] = []
        self.log = SimpleNamespace(error=lambda *args, **kwargs: None)
        self.transport = SimpleNamespace(new_outputs=lambda: Outputs(producer), full=False)

    async def crash(self, error: BaseException) -> None:
        self.should_stop = True
        self.crashes.append(error)


class FakeStream:
    """A stream of these batches; it records which of them were acknowledged to Faust."""

    def __init__(self, *batches: Batch) -> None:
        self._batches = batches
        self.channel = SimpleNamespace(queue=asyncio.Queue())
        self.acked: list[Batch] = []

    def noack(self) -> "FakeStream":
        return self

    async def events(self) -> AsyncIterator[Any]:
        for each in self._batches:
            yield SimpleNamespace(message=each)

    async def ack(self, event: Any) -> None:
        self.acked.append(event.message)


class Bench:
    """Runs a pool with a fake app, a fake librdkafka producer and a ledger."""

    def __init__(self) -> None:
        self.batching_producer = BatchingProducer("nowhere:1", 5.0, producer=FakeProducer)
        self.producer: FakeProducer = self.batching_producer._main.producer
        self.app = FakeApp(self.batching_producer)
        self.ledger = Ledger(100)

    def fetch(self, *offsets: int, partition: int = 0) -> Batch:
        """A batch of records at these offsets, which the ledger knows."""
        return self.ledger.add(batch(offsets, partition))

    async def run(self, handler: Any, *batches: Batch, **settings: Any) -> FakeStream:
        """Pass the batches to a pool; returns their stream. Handlers continue afterwards."""
        stream, app = FakeStream(*batches), cast(Any, self.app)
        await Pool(app, handler, **settings).run(cast(Any, stream))
        return stream


async def wait_until(condition: Callable[[], Any]) -> None:
    await until(condition, within_s=15.0)


def send(outputs: Outputs, batch: Batch, record: Any) -> None:
    """A handler that is a function."""
    outputs.send("out", record.key, b"%d" % record.offset)
