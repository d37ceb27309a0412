"""The three services of a rival as processes."""

import sys

from benchmarks.implementation import Implementation
from benchmarks.testbed import Testbed


class RivalServices(Implementation):
    """Runs `benchmarks.rivals.<chain>` for each service; `json` is a key of `benchmarks.rivals.chain.CODECS`."""

    def __init__(self, testbed: Testbed, chain: str, json: str, workers: int = 1) -> None:
        super().__init__(testbed, workers)
        self.chain, self.json = chain, json

    def start(self) -> None:
        """Start all processes. They are ready once they have joined their groups."""
        for service, name, _ in self.workers_to_start():
            module = f"benchmarks.rivals.{self.chain}"
            arguments = (service, "--broker", self.testbed.bootstrap, "--json", self.json)
            self.run(name, sys.executable, "-m", module, *arguments)

    def problem(self) -> str | None:
        """None: that all sagas have completed is all that can be checked of a rival."""
        return None
