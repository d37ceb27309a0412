"""A real Kafka broker for tests and benchmarks, started by `kafka/kafka.sh`."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from devtools.wait import free_ports, listening, until

KIT = Path(__file__).parents[1] / "kafka" / "kafka.sh"


def missing() -> str | None:
    """Why this machine cannot run a real broker; None if it can."""
    lacking = [name for name, command in (("Java 17", "java"), ("Maven", "mvn")) if shutil.which(command) is None]
    return f"a real Kafka needs {' and '.join(lacking)}" if lacking else None


class RealKafka:
    """A broker with ports and a data directory of its own, which can be stopped, killed and started again."""

    def __init__(self, data: Path, heap: str = "-Xms256m -Xmx512m", **properties: str) -> None:
        """Does not start the broker. `properties`: broker settings, with underscores in place of dots."""
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
        """Start the broker, and wait until it accepts requests."""
        self._kit("start")

    def stop(self) -> None:
        """Shut the broker down gracefully; its data are kept."""
        self._kit("stop")

    def kill(self) -> None:
        """Kill the broker with SIGKILL, and wait until its port is free: a large process exits with a delay."""
        os.kill(int((self.data / "kafka.pid").read_text()), signal.SIGKILL)
        until(lambda: not listening(self.port), 20, f"the killed broker still listens on port {self.port}")

    def clean(self) -> None:
        """Delete the data of a stopped broker."""
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
