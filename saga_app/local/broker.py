"""The embedded broker: a throw-away Kafka-protocol broker in a child process, for trying out and for tests.

    with Broker(port=19092, topics={"orders": 8}) as broker:
        broker.bootstrap        # "127.0.0.1:19092"

All in memory, on one machine, about 5 MiB a partition: see stream/capacity.py.  It cannot make topics on request,
compact or keep anything, so it is started with its topics and restarted together with its services.
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
    """The embedded broker could not be started; one line that says why."""


class Broker:
    """The parent's side.  The child ends with its parent, however that ends.

    port 0: any free one; timeout_s: how long the child may take to serve.  Raises BrokerFailed.
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
            start_new_session=True,  # a Ctrl-C in the terminal reaches the parent only, which closes us last
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
        silence = {"error": f"no answer from its process in {timeout_s:g} s" if not ready else "its process ended"}
        return cast(dict[str, str], json.loads(line)) if line else silence

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it serves; when not, all that it held is gone."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the child and wait for it; may be called again."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()  # the end of its input ends the child
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
