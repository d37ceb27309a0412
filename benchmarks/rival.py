"""A rival's three services as processes."""

import sys

from benchmarks.side import Side
from benchmarks.stage import Stage


class Rival(Side):
    """`chain` is a module of `benchmarks.rivals`, `json` the library it uses."""

    def __init__(self, stage: Stage, chain: str, json: str, workers: int = 1) -> None:
        super().__init__(stage, workers)
        self.chain, self.json = chain, json

    def start(self) -> None:
        """They are ready when they have joined their groups."""
        for service, name, _ in self.names():
            module = f"benchmarks.rivals.{self.chain}"
            arguments = (service, "--broker", self.stage.bootstrap, "--json", self.json)
            self.run(name, sys.executable, "-m", module, *arguments)

    def problem(self) -> str | None:
        """Nothing beyond that all sagas must have completed, which the driver has seen."""
        return None
