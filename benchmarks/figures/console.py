"""How fast the console's index takes in what has happened, in a process of its own: very much, of which it tells only
what sagas have come to, and a little, of which it tells every step."""

import time

from benchmarks import measure
from benchmarks.context import Context, More, Trial
from benchmarks.measure import Figures
from benchmarks.numbers import at_least
from benchmarks.ours import CONSOLE, Ours
from benchmarks.progress import counting
from benchmarks.report import Line
from benchmarks.stage import Stage, stage
from devtools.wait import until
from saga_app.console.kafka.source import BULK_THRESHOLD

#: How long it may take (seconds); between two looks.
WITHIN_S, LOOK_S = 180.0, 0.02

#: The files of its index.
INDEX = "index.sqlite*"

#: So many sagas, of six records each, are still told step by step.
FEW = BULK_THRESHOLD // 6 - 100


def measured(context: Context) -> None:
    """Sagas whose records all stand in the topics, read by a console that starts with no index."""
    counts = {"all": context.options.sagas, "few": FEW}
    rounds = context.alternate("console", {name: trial(count) for name, count in counts.items()})
    goal = at_least(2000, "sagas/s")
    context.add(
        Line("console: sagas read anew", "sagas/s", rounds.middle("all", "sagas_per_s"), goal),
        Line("console: sagas told step by step", "sagas/s", rounds.middle("few", "sagas_per_s"), goal),
        Line("console: its index on disk, a saga", "kB", rounds.middle("all", "index_kb_per_saga")),
    )


def trial(count: int) -> Trial:
    """From its first answer to an index that is up to date; nobody else runs."""

    def run(more: More) -> Figures:
        with stage() as on, Ours(on, console=False) as side:
            measure.burst(side, count, "burst", counting(more, "burst", count))
            side.end()
            side.processes.clear()
            more("reading")
            side.launch(CONSOLE, CONSOLE, 0)
            until(lambda: side.answers(CONSOLE, "/health/live"), WITHIN_S, "the console does not answer", LOOK_S)
            began, before = time.monotonic(), side.used()
            side.wait_until_ready(CONSOLE, WITHIN_S, LOOK_S)
            took_s = time.monotonic() - began
            cpu_s = side.used().cpu_since(before, [CONSOLE])
            measure.check(side, more)
            found = {"sagas_per_s": count / took_s, "took_s": took_s, "cpu_ms_per_saga": cpu_s / count * 1000}
            return found | {"index_kb_per_saga": index_bytes(on) / count / 1000}

    return run


def index_bytes(stage: Stage) -> int:
    """The files of the database, its write-ahead log included."""
    files = list((stage.directory / "data").glob(INDEX))
    if not files:
        raise RuntimeError(f"no index ({INDEX})")
    return sum(file.stat().st_size for file in files)
