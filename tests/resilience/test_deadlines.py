"""Missed deadlines are marked within a second, even if a Provisioner was killed; the sagas still complete."""

import os
import signal
import statistics
from collections.abc import Callable

from devtools.http_client import ask
from devtools.system import System
from devtools.wait import until
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.codec import decode
from saga_app.saga.messages import Row
from tests.kafka.kafka_system import list_sagas, worker_pids
from tests.topics import read_messages

COUNT, LAG_S, DEADLINE_S = 1_000, 6, 12


def marking_delays(bootstrap: str) -> dict[str, float]:
    """Seconds from the deadline of each overdue saga to the changelog record that marks it, by saga id."""
    found: dict[str, float] = {}
    for record in read_messages(bootstrap, ROWS_CHANGELOG):
        row = decode(Row, record.value())
        if row.overdue and row.id.startswith("late"):
            assert row.due_at is not None
            found.setdefault(row.id, record.timestamp()[1] / 1000 - row.due_at.timestamp())
    return found


def test_sagas_that_miss_their_deadline_are_marked_and_complete_late(
    kafka: str, start_system: Callable[..., System]
) -> None:
    system = start_system(
        "--broker", f"kafka://{kafka}", "--workers", "2", lag=f"{LAG_S}-{LAG_S}", deadline=str(DEADLINE_S)
    )
    users = [
        {"id": f"late{n}", "name": f"N{n}", "email": f"n{n}@example.com", "department": "Sales"} for n in range(COUNT)
    ]
    assert ask(f"{system.url}/api/users", users)[0] == 202
    os.kill(worker_pids(system, "provisioner")[0], signal.SIGKILL)
    until(lambda: len(marking_delays(kafka)) == COUNT, DEADLINE_S + 30, f"not all {COUNT} sagas are marked", every_s=2)
    delays = sorted(marking_delays(kafka).values())
    print(
        f"from the deadline to the mark, {COUNT} sagas: p50 {statistics.median(delays):.3f} s, max {delays[-1]:.3f} s"
    )
    assert delays[0] >= 0
    assert statistics.median(delays) < 1.0
    shown = [item for item in list_sagas(system, "&overdue=true") if item["id"].startswith("late")]
    assert len(shown) == COUNT
    until(lambda: len(list_sagas(system, "&state=completed&q=late")) == COUNT, 60, "not all sagas completed", every_s=2)
    why = ask(f"{system.url}/api/sagas/late7")[1]["why"]
    assert why.startswith("completed in ")
    assert why.endswith(" s late")
