"""A real Kafka broker for tests, from the kit in kafka/."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from devtools.wait import free_ports, listening, until

KIT = Path(__file__).parents[1] / "kafka" / "kafka.sh"


def missing() -> str | None:
    """What a real broker needs and this machine lacks."""
    lacking = [name for name, command in (("Java 17", "java"), ("Maven", "mvn")) if shutil.which(command) is None]
    return f"a real Kafka needs {' and '.join(lacking)}" if lacking else None


class RealKafka:
    """A broker with its own ports and directory; a test may stop, kill and start it."""

    def __init__(self, data: Path, heap: str = "-Xms256m -Xmx512m", **properties: str) -> None:
        """`properties`: of the broker, with _ in place of dots."""
        self.data = data
        self.port, controller = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._env = {
            **os.environ,
            "KAFKA_PORT": str(self.port),
            "KAFKA_CONTROLLER_PORT": str(controller),
            "KAFKA_DATA": str(data),
            "KAFKA_HEAP": heap,
            "KAFKA_PROPERTIES": "\n".join(f"{name.replace('_', '.')}={value}" for name, value in properties.items()),
        }

    def start(self) -> None:
        """Returns when it serves."""
        self._kit("start")

    def stop(self) -> None:
        """A clean stop; the data stay."""
        self._kit("stop")

    def kill(self) -> None:
        """kill -9; returns when it is gone, for a large process gives its port back a moment after the signal."""
        os.kill(int((self.data / "kafka.pid").read_text()), signal.SIGKILL)
        until(lambda: not listening(self.port), 20, f"the killed broker holds port {self.port} no longer")

    def clean(self) -> None:
        """Forget the data."""
        self._kit("clean")

    def _kit(self, command: str) -> None:
        done = subprocess.run(
            [KIT, command],
            env=self._env,
            check=False,
            timeout=180,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"kafka.sh {command}: {done.stderr}"
