"""A broker that accepts connections and answers nothing for a minute, under load."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.chaos.users import ask
from tests.kafka.test_saga import states
from tests.real_kafka import RealKafka
from tests.system import System
from tests.topics import send, user
from tests.wait import until

HANGS_S = 60

#: Of all seven processes together, for the whole of it.
LINES = 400


@pytest.mark.timeout(200)
def test_a_broker_that_answers_nothing_for_a_minute_loses_nothing_and_floods_no_log(
    own_kafka: RealKafka, start_system: Callable[..., System]
) -> None:
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", "--workers", "2", lag="0-0.5")
    send(own_kafka.bootstrap, "new-user", ((b"hang%d" % n, user(f"hang{n}")) for n in range(1500)))
    until(lambda: states(own_kafka.bootstrap, "hang")["completed"] > 100, 30, "under load", every_s=0.2)
    broker = int((own_kafka.data / "kafka.pid").read_text())
    said, began = len(system.lines), time.monotonic()
    os.kill(broker, signal.SIGSTOP)
    try:
        status, answer = ask(f"{system.url}/api/users", person("lena"), within_s=HANGS_S)
        told_after = time.monotonic() - began
        until(lambda: time.monotonic() - began > HANGS_S, HANGS_S + 1, "a minute", every_s=0.5)
    finally:
        os.kill(broker, signal.SIGCONT)
    assert (status, told_after < 45) == (503, True), f"{status} after {told_after:.0f} s"
    assert "nothing was accepted" in answer["detail"]
    until(lambda: states(own_kafka.bootstrap, "hang")["completed"] == 1500, 60, "1,500 users completed", every_s=1)
    went_on = time.monotonic() - began - HANGS_S
    until(lambda: ask(f"{system.url}/api/users", person("olga"))[0] == 202, 20, "the next user is taken")
    # Without Faust's banner, and without the one line for each record that comes again.
    lines = [line for line in system.lines[said:] if " | " not in line and " absorbed " not in line]
    restarts = sum("starting it again" in line for line in lines)
    print(f"\nsaid so after {told_after:.0f} s; all completed {went_on:.0f} s after it came back; {restarts} restarts")
    kinds = Counter(re.sub(r"\d+", "#", line)[:120] for line in lines)
    assert len(lines) < LINES, f"a flood of {len(lines)} log lines: {kinds.most_common(20)}"


def person(id: str) -> dict[str, str]:
    return {"id": id, "name": id.title(), "email": f"{id}@example.com", "department": "Sales"}
