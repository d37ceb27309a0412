"""A fresh broker with the topics, for one measurement, and gone for certain afterwards."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.log import Log
from benchmarks.users import Sender
from devtools.real_kafka import RealKafka
from saga_app.service.kafka import topics

PARTITIONS = 12

#: As large as Kafka's own scripts make it: with less, a collection now and then stands still for a tenth of a second.
HEAP = "-Xms1g -Xmx1g"


@dataclass(frozen=True)
class Stage:
    """Where a side plays."""

    directory: Path
    broker: RealKafka
    log: Log
    sender: Sender

    @property
    def bootstrap(self) -> str:
        """host:port of the broker."""
        return self.broker.bootstrap

    @property
    def broker_pid(self) -> int:
        """The JVM's."""
        return int((self.broker.data / "kafka.pid").read_text())


@contextmanager
def stage() -> Iterator[Stage]:
    """In a directory of its own, which is removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="saga-bench-"))
    broker = RealKafka(directory / "kafka", HEAP)
    try:
        broker.start()
        asyncio.run(_topics(broker.bootstrap))
        yield Stage(directory, broker, Log(broker.bootstrap, PARTITIONS), Sender(broker.bootstrap))
    finally:
        _kill(broker)
        shutil.rmtree(directory, ignore_errors=True)


async def _topics(bootstrap: str) -> None:
    async for _ in topics.ensure(bootstrap, PARTITIONS, replication=1):
        pass


def _kill(broker: RealKafka) -> None:
    """A clean stop takes seconds, and nobody reads these data again."""
    try:
        pid = int((broker.data / "kafka.pid").read_text())
        process = psutil.Process(pid)
        process.kill()
        process.wait(10)
    except (OSError, ValueError, psutil.NoSuchProcess):  # it has not come to be
        pass
