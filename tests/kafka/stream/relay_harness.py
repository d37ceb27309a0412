"""Drives the relay workers of relay_app.py as processes, and reads back what they have done."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import psutil
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from saga_app.stream import partition_of
from devtools.wait import until

ROOT = Path(__file__).parents[3]
PARTITIONS = 4

#: Who is silent for so long has left the group (relay_app.py).
SESSION_S = 8.0


def key_of(number: int, partition: int | None = None) -> bytes:
    """A key by its number; with a partition, the number-th key that lives there."""
    if partition is None:
        return b"key-%d" % number
    found = 0
    for candidate in range(100 * (number + 1)):
        key = b"key-%d" % candidate
        if partition_of(key, PARTITIONS) == partition:
            if found == number:
                return key
            found += 1
    raise AssertionError("no such key")


class Worker:
    """One relay process; its log is in a file."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "faust",
                    "-A",
                    "tests.kafka.stream.relay_app",
                    "worker",
                    "--without-web",
                    "-l",
                    "info",
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    @property
    def pid(self) -> bytes:
        return str(self.process.pid).encode()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def said(self, words: str) -> int:
        """How often these words are in the log."""
        return self.log.read_text(errors="replace").count(words)

    @property
    def lines(self) -> int:
        """How many lines it has logged."""
        return self.log.read_bytes().count(b"\n")

    @property
    def cpu_s(self) -> float:
        """Processor time used so far (seconds)."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def ready(self, within_s: float = 30.0) -> "Worker":
        """Wait until it has its partitions."""
        until(lambda: self.said("Worker ready") or not self.alive, within_s, f"ready, see {self.log}")
        assert self.alive, self.log.read_text(errors="replace")[-3000:]
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, within_s: float = 15.0) -> float:
        """SIGTERM; the seconds it took."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(within_s)
        return time.monotonic() - began

    def end(self) -> None:
        """After the test, in any case."""
        if self.alive:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.kill()


class Load:
    """A steady load in a thread of its own: rising versions of the same keys, until it is stopped."""

    def __init__(self, lane: "RelayHarness", per_s: int, keys: int, delay_s: float = 0.0) -> None:
        self.sent: set[tuple[bytes, int]] = set()
        self._lane, self._per_s, self._keys, self._delay_s = lane, per_s, keys, delay_s
        self._extra = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        tick, number = 0.02, 0
        while not self._over.wait(tick):
            extra, self._extra = self._extra, 0
            burst = range(number, number + int(self._per_s * tick) + extra)
            number = burst.stop
            records = [(key_of(n % self._keys), {"n": n, "delay": self._delay_s}) for n in burst]
            self._lane.load(records, wait=False)
            self.sent.update((key, value["n"]) for key, value in records)

    def burst(self, records: int) -> None:
        """So many at once; they are at the broker when this returns."""
        wanted = self._lane.reached(self._lane.incoming) + records
        self._extra = records
        until(
            lambda: self._lane.reached(self._lane.incoming) >= wanted, 10, "the burst is at the broker", every_s=0.005
        )

    def stop(self) -> set[tuple[bytes, int]]:
        """Stop, wait until all is at the broker, and say what was sent."""
        self._over.set()
        self._thread.join()
        self._lane.flush()
        return self.sent


class RelayHarness:
    """Topics of its own on a broker, the workers on them, loads and results."""

    def __init__(self, bootstrap: str, name: str, directory: Path, make_topics: bool = True) -> None:
        self.bootstrap = bootstrap
        self.name = name
        self.directory = directory
        self.workers: list[Worker] = []
        quick = {"linger.ms": 5, "reconnect.backoff.max.ms": 500, "log_level": 0}
        self._producer = Producer({"bootstrap.servers": bootstrap, **quick})
        # It never joins the group: it looks at offsets.
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": name, "log_level": 0})
        if make_topics:
            self._make_topics()

    def forget(self) -> None:
        """Delete its topics: they are large."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.delete_topics([self.incoming, self.outgoing, self.changelog]).values():
            future.result(15)

    @property
    def incoming(self) -> str:
        return f"{self.name}-in"

    @property
    def outgoing(self) -> str:
        return f"{self.name}-out"

    @property
    def changelog(self) -> str:
        return f"{self.name}-rows-changelog"

    def _make_topics(self) -> None:
        plain = [NewTopic(topic, PARTITIONS, 1) for topic in (self.incoming, self.outgoing)]
        # Not compacted here: the tests want to see every row that was ever written.
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_topics([*plain, NewTopic(self.changelog, PARTITIONS, 1)]).values():
            future.result(15)

    def worker(self, label: str = "w", **settings: object) -> Worker:
        """Start one; settings are those of relay_app.py."""
        given = {f"RELAY_{name.upper()}": str(value) for name, value in settings.items()}
        own = {"RELAY_BROKER": f"kafka://{self.bootstrap}", "RELAY_NAME": self.name}
        datadir = {"RELAY_DATADIR": str(self.directory / label)}
        worker = Worker({**own, **datadir, **given}, self.directory / f"{label}-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    def load(self, records: Iterable[tuple[bytes, dict[str, Any]]], wait: bool = True) -> int:
        """Send them; how many."""
        sent = 0
        for key, value in records:
            self._send(key, value)
            sent += 1
        self._producer.poll(0)
        if wait:
            self.flush()
        return sent

    def flush(self) -> None:
        """Wait until all that was sent is at the broker."""
        assert self._producer.flush(30) == 0, "the broker did not take the load"

    def _send(self, key: bytes, value: dict[str, Any]) -> None:
        while True:
            try:
                return self._producer.produce(self.incoming, orjson.dumps(value), key, partition_of(key, PARTITIONS))
            except BufferError:
                self._producer.poll(0.1)

    def read(self, topic: str) -> Iterator[Any]:
        """Everything that is on a topic now, partition by partition in order."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "reader", "log_level": 0})
        try:
            ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in range(PARTITIONS)}
            left = {p: high for p, (low, high) in ends.items() if high > low}
            consumer.assign([TopicPartition(topic, p, ends[p][0]) for p in left])
            deadline = time.monotonic() + 30
            while left and time.monotonic() < deadline:
                for message in consumer.consume(1000, timeout=0.5):
                    assert message.error() is None, message.error()
                    yield message
                    if message.offset() + 1 >= left.get(message.partition(), sys.maxsize):
                        del left[message.partition()]
            assert not left, f"{topic} could not be read to its end: {left}"
        finally:
            consumer.close()

    def ends(self, topic: str) -> list[int]:
        """How many records are on each partition of a topic."""
        return [self._end(TopicPartition(topic, p)) for p in range(PARTITIONS)]

    def _end(self, place: TopicPartition) -> int:
        """A broker that has just come back may not yet know that it leads."""
        deadline = time.monotonic() + 15
        while True:
            try:
                end: int = self._consumer.get_watermark_offsets(place, timeout=10)[1]
                return end
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def reached(self, topic: str) -> int:
        """How many records are on a topic."""
        return sum(self.ends(topic))

    def commits(self) -> list[int]:
        """The group's committed offset on each partition."""
        places = [TopicPartition(self.incoming, p) for p in range(PARTITIONS)]
        return [max(0, place.offset) for place in self._consumer.committed(places, timeout=10)]

    def committed(self) -> int:
        """How many records the group has committed."""
        return sum(self.commits())

    def __str__(self) -> str:
        """Where it stands, for a test that fails."""
        return (
            f"{self.reached(self.incoming)} came in, {self.reached(self.outgoing)} went out, "
            f"{self.committed()} committed, {len(self._producer)} not yet at the broker; logs in {self.directory}"
        )

    def relayed(self) -> set[tuple[bytes, int]]:
        """Key and version of everything that came out... as far as the rows tell: see `outputs`."""
        return {(m.key(), orjson.loads(m.value())["n"]) for m in self.read(self.outgoing)}

    def partitions_of(self, worker: Worker) -> set[int]:
        """On which partitions this worker has sent outputs."""
        return {m.partition() for m in self.read(self.outgoing) if dict(m.headers() or ()).get("by") == worker.pid}

    def nothing_missing(self, sent: set[tuple[bytes, int]]) -> None:
        """Everything came out, and each row has the last version of its key."""
        missing = sent - self.relayed()
        assert not missing, f"{len(missing)} of {len(sent)} did not come out: {sorted(missing)[:5]}"
        last: dict[bytes, int] = {}
        for key, version in sent:
            last[key] = max(version, last.get(key, -1))
        assert self.rows() == last

    def rows(self) -> dict[bytes, int]:
        """The rows as the changelog has them: version by key."""
        return {m.key(): orjson.loads(m.value())["n"] for m in self.read(self.changelog)}

    def versions(self) -> dict[bytes, list[int]]:
        """Every version that was ever written, in the order of the changelog."""
        found: dict[bytes, list[int]] = {}
        for message in self.read(self.changelog):
            found.setdefault(message.key(), []).append(orjson.loads(message.value())["n"])
        return found

    def all_committed(self, within_s: float = 30.0) -> None:
        """Wait until the group has committed everything that came in."""
        self.until(lambda: self.committed() == self.reached(self.incoming), within_s, "all committed")

    def until(self, condition: Callable[[], Any], within_s: float, what: str) -> None:
        """Wait for the condition; when it does not come true, say where the lane stands."""
        try:
            until(condition, within_s, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self}") from None


@contextmanager
def lane(bootstrap: str, name: str, directory: Path, make_topics: bool = True) -> Iterator[RelayHarness]:
    """A lane whose processes are gone afterwards."""
    made = RelayHarness(bootstrap, name, directory, make_topics)
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.end()
