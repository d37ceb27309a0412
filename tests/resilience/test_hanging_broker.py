"""A broker that hangs under load: it accepts connections but does not answer."""

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
from tests.kafka.kafka_system import count_states
from tests.topics import send, user

LONG_HANG_S = 60

#: Longer than the session of a worker (10 s) and that of the broker with its controller (9 s). After such a hang the
#: metadata contain no broker for a moment, and a librdkafka client may never recover from that.
SHORT_HANG_S = 12
SHORT_HANG_COUNT = 6

#: The limit of log lines of all seven processes during the long hang and the recovery.
MAX_LOG_LINES = 400


@pytest.mark.timeout(200)
def test_a_broker_that_hangs_for_a_minute_loses_nothing(
    own_kafka: RealKafka, start_system: Callable[..., System]
) -> None:
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", "--workers", "2", lag="0-0.5")
    send(own_kafka.bootstrap, "new-user", ((b"hang%d" % n, user(f"hang{n}")) for n in range(1500)))
    until(have_completed(own_kafka, "hang", 100), 30, "fewer than 100 users completed", every_s=0.2)
    lines_before, began = len(system.lines), time.monotonic()
    with hanging(own_kafka, LONG_HANG_S):
        status, answer = ask(f"{system.url}/api/users", request_body("lena"), timeout_s=LONG_HANG_S)
        refused_after_s = time.monotonic() - began
    assert (status, refused_after_s < 45) == (503, True), f"{status} after {refused_after_s:.0f} s"
    assert "nothing was accepted" in answer["detail"]
    until(have_completed(own_kafka, "hang", 1500), 60, "not all 1,500 users completed", every_s=1)
    recovery_s = time.monotonic() - began - LONG_HANG_S
    until(lambda: ask(f"{system.url}/api/users", request_body("olga"))[0] == 202, 20, "the next user was not accepted")
    # Without Faust's banner and the log lines for duplicates.
    lines = [line for line in system.lines[lines_before:] if " | " not in line and " absorbed " not in line]
    restarts = sum("restarting in" in line for line in lines)
    print(f"\nrefused after {refused_after_s:.0f} s; completed {recovery_s:.0f} s after the hang; {restarts} restarts")
    kinds = Counter(re.sub(r"\d+", "#", line)[:120] for line in lines)
    assert len(lines) < MAX_LOG_LINES, f"{len(lines)} log lines: {kinds.most_common(20)}"


@pytest.mark.timeout(400)
def test_every_client_recovers_from_repeated_hangs_of_a_broker(
    own_kafka: RealKafka, start_system: Callable[..., System]
) -> None:
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", "--workers", "2", lag="0-0.5")
    for number in range(SHORT_HANG_COUNT):
        prefix = f"again{number}x"
        ids = [f"{prefix}{n}" for n in range(500)]
        send(own_kafka.bootstrap, "new-user", ((id.encode(), user(id)) for id in ids))
        until(have_completed(own_kafka, prefix, 50), 40, "fewer than 50 users completed", every_s=0.2)
        with hanging(own_kafka, SHORT_HANG_S):
            pass
        until(have_completed(own_kafka, prefix, 500), 60, f"not all users of round {number} completed", every_s=1)
    until(lambda: ask(f"{system.url}/api/users", request_body("olga"))[0] == 202, 20, "the next user was not accepted")
    lost = sum("has lost all brokers" in line for line in system.lines)
    print(f"\n{lost} workers lost all brokers and were restarted")


@contextmanager
def hanging(kafka: RealKafka, seconds: float) -> Iterator[None]:
    """Suspend the broker during the block, and at least for `seconds`."""
    pid, began = int((kafka.data / "kafka.pid").read_text()), time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        until(lambda: time.monotonic() - began > seconds, seconds + 1, f"{seconds:g} s did not pass", every_s=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)


def have_completed(kafka: RealKafka, prefix: str, count: int) -> Callable[[], bool]:
    """A condition for `until`: at least `count` sagas with this id prefix have completed."""
    return lambda: count_states(kafka.bootstrap, prefix)["completed"] >= count


def request_body(id: str) -> dict[str, str]:
    """The body of a POST to /api/users."""
    return {"id": id, "name": id.title(), "email": f"{id}@example.com", "department": "Sales"}
