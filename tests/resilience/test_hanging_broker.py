"""A broker that accepts connections and answers nothing for a while, under load."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from devtools.http_client import ask
from devtools.real_kafka import RealKafka
from devtools.system import System
from devtools.wait import until
from tests.kafka.test_saga import states
from tests.topics import send, user

HANGS_S = 60

#: More than the session of a worker (10 s), and than that of a broker with its controller (9 s): then a broker that is
#: back says for a moment that the cluster has none, and a client of librdkafka may lose it for good.
BRIEFLY_S, TIMES = 12, 6

#: Of all seven processes together, for the whole of it.
LINES = 400


@pytest.mark.timeout(200)
def test_a_broker_that_answers_nothing_for_a_minute_loses_nothing_and_floods_no_log(
    own_kafka: RealKafka, start_system: Callable[..., System]
) -> None:
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", "--workers", "2", lag="0-0.5")
    send(own_kafka.bootstrap, "new-user", ((b"hang%d" % n, user(f"hang{n}")) for n in range(1500)))
    until(completed(own_kafka, "hang", 100), 30, "under load", every_s=0.2)
    said, began = len(system.lines), time.monotonic()
    with hanging(own_kafka, HANGS_S):
        status, answer = ask(f"{system.url}/api/users", person("lena"), timeout_s=HANGS_S)
        told_after = time.monotonic() - began
    assert (status, told_after < 45) == (503, True), f"{status} after {told_after:.0f} s"
    assert "nothing was accepted" in answer["detail"]
    until(completed(own_kafka, "hang", 1500), 60, "1,500 users completed", every_s=1)
    went_on = time.monotonic() - began - HANGS_S
    until(lambda: ask(f"{system.url}/api/users", person("olga"))[0] == 202, 20, "the next user is taken")
    # Without Faust's banner, and without the one line for each record that comes again.
    lines = [line for line in system.lines[said:] if " | " not in line and " absorbed " not in line]
    restarts = sum("restarting in" in line for line in lines)
    print(f"\nsaid so after {told_after:.0f} s; all completed {went_on:.0f} s after it came back; {restarts} restarts")
    kinds = Counter(re.sub(r"\d+", "#", line)[:120] for line in lines)
    assert len(lines) < LINES, f"a flood of {len(lines)} log lines: {kinds.most_common(20)}"


@pytest.mark.timeout(400)
def test_a_broker_that_hangs_again_and_again_is_found_again_by_every_client(
    own_kafka: RealKafka, start_system: Callable[..., System]
) -> None:
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", "--workers", "2", lag="0-0.5")
    for each in range(TIMES):
        prefix = f"again{each}x"
        ids = [f"{prefix}{number}" for number in range(500)]
        send(own_kafka.bootstrap, "new-user", ((id.encode(), user(id)) for id in ids))
        until(completed(own_kafka, prefix, 50), 40, "under load", every_s=0.2)
        with hanging(own_kafka, BRIEFLY_S):
            pass
        until(completed(own_kafka, prefix, 500), 60, f"all of time {each} completed", every_s=1)
    until(lambda: ask(f"{system.url}/api/users", person("olga"))[0] == 202, 20, "the next user is taken")
    lost = sum("has lost all brokers" in line for line in system.lines)
    print(f"\n{lost} workers had lost all brokers and were started again")


@contextmanager
def hanging(kafka: RealKafka, seconds: float) -> Iterator[None]:
    """A broker that answers nothing meanwhile, and for so long at least."""
    broker, began = int((kafka.data / "kafka.pid").read_text()), time.monotonic()
    os.kill(broker, signal.SIGSTOP)
    try:
        yield
        until(lambda: time.monotonic() - began > seconds, seconds + 1, f"{seconds:g} s", every_s=0.5)
    finally:
        os.kill(broker, signal.SIGCONT)


def completed(kafka: RealKafka, prefix: str, count: int) -> Callable[[], bool]:
    """Whether at least so many sagas of a prefix are."""
    return lambda: states(kafka.bootstrap, prefix)["completed"] >= count


def person(id: str) -> dict[str, str]:
    return {"id": id, "name": id.title(), "email": f"{id}@example.com", "department": "Sales"}
