"""`python -m tests.chaos`: exit code 0 if all checks pass, otherwise 1; logs and data of a failed run are kept."""

import shutil
import signal
import sys
import tempfile
from pathlib import Path

from devtools import real_kafka
from tests.chaos.options import parse_options
from tests.chaos.run import run, write_scoreboard


def main() -> int:
    options = parse_options()
    if reason := real_kafka.missing():
        print(reason, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` blocks stop all processes
    directory = options.keep or Path(tempfile.mkdtemp(prefix="saga-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    scoreboard = run(options, directory.absolute())
    scoreboard.print_table()
    for file in filter(None, (options.json, directory / "scoreboard.json")):
        write_scoreboard(scoreboard, file)
    if scoreboard.is_good and options.keep is None:
        shutil.rmtree(directory)
    else:
        print(f"logs and data: {directory}")
    return 0 if scoreboard.is_good else 1


sys.exit(main())
