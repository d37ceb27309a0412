"""The embedded broker: a disposable in-memory Kafka broker in a child process, for trial use and tests.

    with Broker(port=19092, topics={"orders": 8}) as broker:
        broker.bootstrap        # "127.0.0.1:19092"

It holds about 5 MiB per partition in memory (see stream/capacity.py). Start it with all topics: one that a client
requests first is created with 4 partitions. It does not compact or persist data, so it is restarted together with the
services.
"""

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self, cast

_CHILD = Path(__file__).with_name("mock_cluster.py")


class BrokerFailed(Exception):
    """The embedded broker could not be started; the text is one line with the reason."""


class Broker:
    """Starts the broker process and stops it in `close`. The process also ends if its parent dies.

    `port`: 0 for any free port. `topics`: number of partitions by topic. `timeout_s`: for the start of the process.
    Raises `BrokerFailed`.
    """

    def __init__(
        self,
        port: int = 0,
        topics: Mapping[str, int] | None = None,
        host: str = "127.0.0.1",
        timeout_s: float = 10.0,
    ) -> None:
        named = [f"--topic={name}:{partitions}" for name, partitions in (topics or {}).items()]
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD), "--host", host, "--port", str(port), *named],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C then reaches only the parent, which closes the broker last
        )
        answer = self._answer(timeout_s)
        if "error" in answer:
            self.close()
            raise BrokerFailed(f"the embedded broker did not start: {answer['error']}")
        self.bootstrap = answer["bootstrap"]

    def _answer(self, timeout_s: float) -> dict[str, str]:
        out = cast(IO[bytes], self._process.stdout)
        ready, _, _ = select.select([out], [], [], timeout_s)
        line = out.readline() if ready else b""
        silence = {"error": f"its process did not respond within {timeout_s:g} s" if not ready else "its process ended"}
        return cast(dict[str, str], json.loads(line)) if line else silence

    @property
    def pid(self) -> int:
        """The process id of the broker."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is running. If not, all data are lost."""
        return self._process.poll() is None

    def close(self) -> None:
        """Stop the process and wait for its end. May be called repeatedly."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()  # the process ends when its standard input is closed
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
