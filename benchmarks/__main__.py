"""`python -m benchmarks`: exit code 1 if a trial failed, or with `--short` if the ratio is too low (see `--help`)."""

import logging
import signal
import sys
from dataclasses import asdict

import structlog
from rich.console import Console

from benchmarks import options, run
from benchmarks.context import Context
from benchmarks.progress import Progress
from benchmarks.report import Report
from devtools import real_kafka


def main() -> int:
    chosen = options.read()
    if reason := real_kafka.missing():
        print(reason, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # run the clean-up of all context managers
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(width=None if sys.stdout.isatty() else 150)
    report = Report(asdict(chosen))
    try:
        return run.run(Context(chosen, Progress(console), report))
    finally:
        report.show(console)
        report.write(chosen.json)
        console.print(f"figures: {chosen.json}")


sys.exit(main())
