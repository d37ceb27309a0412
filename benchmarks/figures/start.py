"""From nothing to ready on the embedded broker, and from there to the first completed saga."""

import tempfile
import time
from pathlib import Path

from benchmarks.context import Context, More
from benchmarks.measure import Figures
from benchmarks.numbers import at_most
from benchmarks.report import Line
from devtools.http_client import ask
from devtools.system import System
from devtools.wait import until

#: How long each may take (seconds).
WITHIN_S = 60.0

ADA = {"name": "Ada Lovelace", "email": "ada@example.com", "department": "Sales", "id": "ada"}


def measured(context: Context) -> None:
    """`saga up` is what `make run` runs."""
    rounds = context.alternate("start", {"ours": trial})
    context.add(
        Line("`make run` to ready", "s", rounds.middle("ours", "ready_s"), at_most(15, "s")),
        Line("ready to first completed saga, no lag", "s", rounds.middle("ours", "first_s"), at_most(1, "s")),
    )


def trial(more: More) -> Figures:
    """Start it, onboard one user."""
    with tempfile.TemporaryDirectory(prefix="saga-bench-") as directory:
        began = time.monotonic()
        system = System(Path(directory), lag="0")
        try:
            more("waiting until it is ready")
            system.ready(WITHIN_S)
            ready = time.monotonic()
            status, answer = ask(f"{system.url}/api/users", ADA)
            if status != 202:
                raise RuntimeError(f"the first user was answered {status}: {answer}")
            until(lambda: completed(system), WITHIN_S, "the first saga has not completed", every_s=0.005)
            return {"ready_s": ready - began, "first_s": time.monotonic() - ready}
        finally:
            system.end()


def completed(system: System) -> bool:
    """As its console says."""
    status, saga = ask(f"{system.url}/api/sagas/{ADA['id']}")
    return status == 200 and saga["state"] == "completed"
