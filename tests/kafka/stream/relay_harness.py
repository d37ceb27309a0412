"""Runs workers of `relay_app.py` as processes, sends records to them, and reads their outputs and rows."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from devtools.wait import until
from saga_app.stream import partition_of

ROOT = Path(__file__).parents[3]
PARTITIONS = 4

#: The session timeout of `relay_app.py` (seconds): a worker that is silent for longer is expelled from its group.
SESSION_TIMEOUT_S = 8.0

#: Time between two bursts of a `Load` (seconds).
LOAD_INTERVAL_S = 0.02


class Record(NamedTuple):
    """A record of any topic of a relay. `worker`: the process id of the worker that sent it, or None."""

    partition: int
    offset: int
    key: bytes
    version: int
    worker: bytes | None


def record_of(message: Any) -> Record:
    """Decode a consumed message."""
    assert message.error() is None, message.error()
    worker = dict(message.headers() or ()).get("by")
    version = orjson.loads(message.value())["n"]
    return Record(message.partition(), message.offset(), message.key(), version, worker)


@cache
def key_of(number: int, partition: int | None = None) -> bytes:
    """The key with this number; with a partition, only keys of that partition are counted, from 0."""
    if partition is None:
        return b"key-%d" % number
    keys = (b"key-%d" % candidate for candidate in count())
    return next(islice((key for key in keys if partition_of(key, PARTITIONS) == partition), number, None))


class Worker:
    """A relay process, which writes its log to a file."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        self.log = log
        app = "tests.kafka.stream.relay_app"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", app, "worker", "--without-web", "-l", "info"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    @property
    def pid(self) -> bytes:
        """The process id, as in `Record.worker`."""
        return str(self.process.pid).encode()

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def count_in_log(self, text: str) -> int:
        """The number of times that the log contains this text."""
        return self.log.read_text(errors="replace").count(text)

    @property
    def log_lines(self) -> int:
        """The number of lines in the log."""
        return self.log.read_bytes().count(b"\n")

    def ready(self, within_s: float = 30.0) -> "Worker":
        """Wait until the worker has its partitions; returns it."""
        until(
            lambda: self.count_in_log("Worker ready") or not self.is_alive,
            within_s,
            f"the worker is not ready, see {self.log}",
        )
        assert self.is_alive, self.log.read_text(errors="replace")[-3000:]
        return self

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, within_s: float = 15.0) -> float:
        """Stop the process with SIGTERM. Returns how long it took to exit (seconds)."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(within_s)
        return time.monotonic() - began

    def end(self) -> None:
        """Kill the process if it runs, also if it is frozen."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.kill()


class Load:
    """Sends increasing versions of the same keys at a steady rate, in a thread of its own, until it is stopped."""

    def __init__(self, relay: "RelayHarness", per_s: int, keys: int, delay_s: float = 0.0) -> None:
        self._relay, self._per_s, self._keys, self._delay_s = relay, per_s, keys, delay_s
        self._sent: set[tuple[bytes, int]] = set()
        self._extra_records = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        next_version = 0
        while not self._stopped.wait(LOAD_INTERVAL_S):
            extra, self._extra_records = self._extra_records, 0
            versions = range(next_version, next_version + int(self._per_s * LOAD_INTERVAL_S) + extra)
            next_version = versions.stop
            records = [(key_of(n % self._keys), n) for n in versions]
            self._relay.send(((key, {"n": n, "delay": self._delay_s}) for key, n in records), flush=False)
            self._sent.update(records)

    def send_burst(self, records: int) -> None:
        """Send this many additional records at once, and wait until the broker has them."""
        expected = self._relay.record_count(self._relay.incoming) + records
        self._extra_records = records
        until(
            lambda: self._relay.record_count(self._relay.incoming) >= expected,
            10,
            "the broker has not received the burst",
            every_s=0.005,
        )

    def stop(self) -> set[tuple[bytes, int]]:
        """Stop, and wait until the broker has all records. Returns the keys and versions that were sent."""
        self._stopped.set()
        self._thread.join()
        self._relay.flush()
        return self._sent


class RelayHarness:
    """The topics and workers of one relay, which is named by the prefix of its topics and its consumer group.

    directory: where the workers have their logs and data directories
    create_topics: whether the topics are created here
    """

    def __init__(self, bootstrap: str, name: str, directory: Path, create_topics: bool = True) -> None:
        self.bootstrap = bootstrap
        self.name = name
        self.directory = directory
        self.workers: list[Worker] = []
        self._connect()
        if create_topics:
            self._create_topics()

    def _connect(self) -> None:
        self._producer = Producer(
            {"bootstrap.servers": self.bootstrap, "linger.ms": 5, "reconnect.backoff.max.ms": 500, "log_level": 0}
        )
        # Reads offsets only: it has the id of the workers' group, and never joins it.
        self._consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.name, "log_level": 0})

    def reconnect(self) -> None:
        """Replace the clients after an outage, in which a librdkafka client may have lost all brokers (decision 11).

        Records that the broker has not acknowledged are given up.
        """
        self._producer.purge()
        self._connect()

    @property
    def incoming(self) -> str:
        """The topic that the workers consume."""
        return f"{self.name}-in"

    @property
    def outgoing(self) -> str:
        """The topic to which the workers send."""
        return f"{self.name}-out"

    @property
    def changelog(self) -> str:
        """The changelog of the workers' table, which is not compacted: tests read every version of a row."""
        return f"{self.name}-rows-changelog"

    def _create_topics(self) -> None:
        topics = [NewTopic(name, PARTITIONS, 1) for name in (self.incoming, self.outgoing, self.changelog)]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_topics(topics).values():
            future.result(15)

    def delete_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.delete_topics([self.incoming, self.outgoing, self.changelog]).values():
            future.result(15)

    def start_worker(self, label: str = "w", **settings: object) -> Worker:
        """Start a worker; `ready()` waits until it consumes.

        label: the name of its data directory, and of its log together with a number
        settings: those of `relay_app.py` by their names in lower case, such as `store="rocksdb://"`
        """
        env = {
            "RELAY_BROKER": f"kafka://{self.bootstrap}",
            "RELAY_NAME": self.name,
            "RELAY_DATADIR": str(self.directory / label),
            **{f"RELAY_{name.upper()}": str(value) for name, value in settings.items()},
        }
        worker = Worker(env, self.directory / f"{label}-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    # -- sending

    def send(self, records: Iterable[tuple[bytes, dict[str, Any]]], flush: bool = True) -> None:
        """Send records, which are keys and values; with `flush`, wait until the broker has them."""
        for key, value in records:
            self._send(key, value)
        self._producer.poll(0)
        if flush:
            self.flush()

    def flush(self) -> None:
        """Wait until the broker has everything that was sent."""
        assert self._producer.flush(30) == 0, "the broker did not acknowledge all records within 30 s"

    def _send(self, key: bytes, value: dict[str, Any]) -> None:
        while True:
            try:
                self._producer.produce(self.incoming, orjson.dumps(value), key, partition_of(key, PARTITIONS))
                return
            except BufferError:
                self._producer.poll(0.1)

    # -- reading

    def read(self, topic: str) -> Iterator[Record]:
        """The records of a topic up to its current end, in order for each partition."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "reader", "log_level": 0})
        try:
            places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            ranges = {place.partition: consumer.get_watermark_offsets(place, timeout=10) for place in places}
            unread_up_to = {p: high for p, (low, high) in ranges.items() if high > low}
            consumer.assign([TopicPartition(topic, p, ranges[p][0]) for p in unread_up_to])
            deadline = time.monotonic() + 30
            while unread_up_to and time.monotonic() < deadline:
                for record in map(record_of, consumer.consume(1000, timeout=0.5)):
                    yield record
                    if record.offset + 1 >= unread_up_to.get(record.partition, sys.maxsize):
                        del unread_up_to[record.partition]
            assert not unread_up_to, f"{topic} was not read to its end within 30 s: {unread_up_to}"
        finally:
            consumer.close()

    def relayed(self) -> set[tuple[bytes, int]]:
        """Keys and versions of all records on the outgoing topic."""
        return {(record.key, record.version) for record in self.read(self.outgoing)}

    def partitions_of(self, worker: Worker) -> set[int]:
        """The partitions of the outgoing topic to which this worker has sent."""
        return {record.partition for record in self.read(self.outgoing) if record.worker == worker.pid}

    def rows(self) -> dict[bytes, int]:
        """The latest version of each row in the changelog, by key."""
        return {record.key: record.version for record in self.read(self.changelog)}

    def row_versions(self) -> dict[bytes, list[int]]:
        """All versions of each row by key, in the order of the changelog."""
        versions: dict[bytes, list[int]] = {}
        for record in self.read(self.changelog):
            versions.setdefault(record.key, []).append(record.version)
        return versions

    # -- offsets

    def end_offsets(self, topic: str) -> list[int]:
        """The number of records on each partition of a topic."""
        return [self._end_offset(TopicPartition(topic, p)) for p in range(PARTITIONS)]

    def _end_offset(self, place: TopicPartition) -> int:
        """Retries for 15 s: a broker that has just started may not know yet that it is the leader."""
        deadline = time.monotonic() + 15
        while True:
            try:
                end: int = self._consumer.get_watermark_offsets(place, timeout=10)[1]
                return end
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def record_count(self, topic: str) -> int:
        """The number of records on a topic."""
        return sum(self.end_offsets(topic))

    def committed_offsets(self) -> list[int]:
        """The committed offset of each partition of the incoming topic."""
        places = [TopicPartition(self.incoming, p) for p in range(PARTITIONS)]
        return [max(0, place.offset) for place in self._consumer.committed(places, timeout=10)]

    def committed_count(self) -> int:
        """The number of records that the workers have committed."""
        return sum(self.committed_offsets())

    # -- waiting and checking

    def wait_until_committed(self, within_s: float = 30.0) -> None:
        """Wait until all records on the incoming topic are committed."""
        self.until(
            lambda: self.committed_count() == self.record_count(self.incoming),
            within_s,
            "the workers did not commit all records",
        )

    def until(self, condition: Callable[[], Any], within_s: float, what: str) -> None:
        """Like `devtools.wait.until`; the error also describes the progress of the relay."""
        try:
            until(condition, within_s, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self}") from None

    def assert_all_relayed(self) -> int:
        """Fail unless all incoming records were relayed, and each row has the version of its key's last record.

        Returns the number of incoming records.
        """
        incoming = list(self.read(self.incoming))
        missing = {(record.key, record.version) for record in incoming} - self.relayed()
        assert not missing, f"{len(missing)} of {len(incoming)} records were not relayed: {sorted(missing)[:5]}"
        assert self.rows() == {record.key: record.version for record in incoming}
        return len(incoming)

    def assert_nothing_missing(self, sent: set[tuple[bytes, int]]) -> None:
        """Fail unless all of these records were relayed, and each row has the latest version of its key."""
        missing = sent - self.relayed()
        assert not missing, f"{len(missing)} of {len(sent)} records were not relayed: {sorted(missing)[:5]}"
        latest: dict[bytes, int] = {}
        for key, version in sent:
            latest[key] = max(version, latest.get(key, -1))
        assert self.rows() == latest

    def __str__(self) -> str:
        return (
            f"{self.record_count(self.incoming)} records incoming, {self.record_count(self.outgoing)} outgoing, "
            f"{self.committed_count()} committed, {len(self._producer)} not yet at the broker; logs in {self.directory}"
        )


@contextmanager
def relay_harness(bootstrap: str, name: str, directory: Path, create_topics: bool = True) -> Iterator[RelayHarness]:
    """A `RelayHarness` whose workers are killed at the end; the arguments are those of the class."""
    harness = RelayHarness(bootstrap, name, directory, create_topics)
    try:
        yield harness
    finally:
        for worker in harness.workers:
            worker.end()
