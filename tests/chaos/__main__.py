"""`python -m tests.chaos`: exit code 0 if everything adds up, 1 if not; then logs and data stay, and it says where."""

import shutil
import signal
import sys
import tempfile
from pathlib import Path

from devtools import real_kafka
from tests.chaos.options import read
from tests.chaos.run import run, write


def main() -> int:
    options = read()
    if reason := real_kafka.missing():
        print(reason, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing of it is left behind
    directory = options.keep or Path(tempfile.mkdtemp(prefix="saga-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    board = run(options, directory.absolute())
    board.show()
    for file in filter(None, (options.json, directory / "scoreboard.json")):
        write(board, file)
    if board.good and options.keep is None:
        shutil.rmtree(directory)
    else:
        print(f"logs and data: {directory}")
    return 0 if board.good else 1


sys.exit(main())
