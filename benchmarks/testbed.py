"""A fresh broker with the project's topics for one trial; it is killed and its data are deleted afterwards."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.topic_reader import TopicReader
from benchmarks.users import Sender
from devtools.real_kafka import RealKafka
from saga_app.service.kafka import topics

PARTITIONS = 12

#: The heap of Kafka's own start scripts. With a smaller one, garbage collection sometimes pauses the broker for 0.1 s.
HEAP = "-Xms1g -Xmx1g"


@dataclass(frozen=True)
class Testbed:
    """A running broker, clients that drive and observe it, and a directory for the data of the services."""

    directory: Path
    broker: RealKafka
    reader: TopicReader
    sender: Sender

    @property
    def bootstrap(self) -> str:
        """HOST:PORT of the broker."""
        return self.broker.bootstrap

    @property
    def broker_pid(self) -> int:
        """The process id of the broker's JVM."""
        return int((self.broker.data / "kafka.pid").read_text())


@contextmanager
def running_testbed() -> Iterator[Testbed]:
    """Start a broker in a temporary directory, create the topics, and remove everything at the end."""
    directory = Path(tempfile.mkdtemp(prefix="saga-bench-"))
    broker = RealKafka(directory / "kafka", HEAP)
    try:
        broker.start()
        asyncio.run(_create_topics(broker.bootstrap))
        yield Testbed(directory, broker, TopicReader(broker.bootstrap, PARTITIONS), Sender(broker.bootstrap))
    finally:
        _kill(broker)
        shutil.rmtree(directory, ignore_errors=True)


async def _create_topics(bootstrap: str) -> None:
    async for _ in topics.ensure(bootstrap, PARTITIONS, replication=1):
        pass


def _kill(broker: RealKafka) -> None:
    """Kill the broker: a clean stop takes seconds, and its data are deleted."""
    try:
        pid = int((broker.data / "kafka.pid").read_text())
        process = psutil.Process(pid)
        process.kill()
        process.wait(10)
    except (OSError, ValueError, psutil.NoSuchProcess):  # it was never started
        pass
