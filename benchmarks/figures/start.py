"""Start-up on the embedded broker: the time until it is ready, and from there to the first completed saga."""

import tempfile
import time
from pathlib import Path

from benchmarks.context import Context
from benchmarks.goal import at_most
from benchmarks.progress import Update
from benchmarks.report import Line
from benchmarks.workloads import Figures
from devtools.http_client import ask
from devtools.system import System
from devtools.wait import until

#: How long each of both may take (seconds).
TIMEOUT_S = 60.0

USER = {"name": "Ada Lovelace", "email": "ada@example.com", "department": "Sales", "id": "ada"}


def measure(context: Context) -> None:
    """Measure `saga up`, which is what `make run` runs."""
    rounds = context.alternate("start", {"ours": trial})
    context.add(
        Line("`make run` to ready", "s", rounds.median("ours", "ready_s"), at_most(15, "s")),
        Line("ready to first completed saga, no lag", "s", rounds.median("ours", "first_s"), at_most(1, "s")),
    )


def trial(update: Update) -> Figures:
    """Start the system and onboard one user."""
    with tempfile.TemporaryDirectory(prefix="saga-bench-") as directory:
        began = time.monotonic()
        system = System(Path(directory), lag="0")
        try:
            update("waiting until it is ready")
            system.ready(TIMEOUT_S)
            ready = time.monotonic()
            status, answer = ask(f"{system.url}/api/users", USER)
            if status != 202:
                raise RuntimeError(f"the first user was not accepted: status {status}: {answer}")
            until(lambda: is_completed(system), TIMEOUT_S, "the first saga did not complete", every_s=0.005)
            return {"ready_s": ready - began, "first_s": time.monotonic() - ready}
        finally:
            system.end()


def is_completed(system: System) -> bool:
    """Whether the console shows the saga as completed."""
    status, saga = ask(f"{system.url}/api/sagas/{USER['id']}")
    return status == 200 and saga["state"] == "completed"
