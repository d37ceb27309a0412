"""A deadline that is missed is said within a second, though a Provisioner was killed meanwhile; late is not lost."""

import os
import signal
import statistics
from collections.abc import Callable

from devtools.system import System
from devtools.wait import until
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.messages import Row, decode
from saga_app.saga.times import epoch
from tests.kafka.test_saga import ask, listed, pids
from tests.topics import everything

SAGAS, LAG_S, DEADLINE_S = 1_000, 6, 12


def marks(bootstrap: str) -> dict[str, float]:
    """By saga: seconds from the deadline to the changelog record that says overdue."""
    found: dict[str, float] = {}
    for record in everything(bootstrap, ROWS_CHANGELOG):
        row = decode(Row, record.value())
        if row.overdue and row.id.startswith("late"):
            assert row.due_at is not None
            found.setdefault(row.id, record.timestamp()[1] / 1000 - epoch(row.due_at))
    return found


def test_a_thousand_sagas_that_miss_their_deadline_are_marked_and_complete_late(
    kafka: str, start_system: Callable[..., System]
) -> None:
    system = start_system(
        "--broker", f"kafka://{kafka}", "--workers", "2", lag=f"{LAG_S}-{LAG_S}", deadline=str(DEADLINE_S)
    )
    users = [
        {"id": f"late{n}", "name": f"N{n}", "email": f"n{n}@example.com", "department": "Sales"} for n in range(SAGAS)
    ]
    assert ask(f"{system.url}/api/users", users)[0] == 202
    os.kill(pids(system, "provisioner")[0], signal.SIGKILL)
    until(lambda: len(marks(kafka)) == SAGAS, DEADLINE_S + 30, f"{SAGAS} sagas are marked", every_s=2)
    delays = sorted(marks(kafka).values())
    print(
        f"from the deadline to the mark, {SAGAS} sagas: p50 {statistics.median(delays):.3f} s, max {delays[-1]:.3f} s"
    )
    assert delays[0] >= 0
    assert statistics.median(delays) < 1.0
    shown = [item for item in listed(system, "&overdue=true") if item["id"].startswith("late")]
    assert len(shown) == SAGAS
    until(lambda: len(listed(system, "&state=completed&q=late")) == SAGAS, 60, "all completed", every_s=2)
    why = ask(f"{system.url}/api/sagas/late7")[1]["why"]
    assert why.startswith("completed in ")
    assert why.endswith(" s late")
