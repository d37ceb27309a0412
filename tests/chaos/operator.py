"""A simulated operator, who redrives and rolls back sagas through the console's API."""

import random
import threading
from collections import Counter
from typing import Any

from devtools.http_client import UNREACHABLE, ask

#: The pause between two rounds of actions (seconds).
ROUND_INTERVAL_S = 3.0

#: The share of parked sagas that are redriven in a round, and of these the share that is also rolled back.
REDRIVEN, ALSO_ROLLED_BACK = 0.5, 0.1
#: How many running sagas are cancelled in a round, and for how many that are rolling back this is tried.
CANCELLED_PER_ROUND = 2


class OperatorBot:
    """Acts in a thread. A request without a reply is dropped; the next round acts on the sagas parked by then."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self._dice = random.Random(f"operator {seed}")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.accepted: Counter[str] = Counter()  #: the number of accepted actions, by kind
        self.failures: list[str] = []  #: requests with an unexpected status

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(ROUND_INTERVAL_S):
            try:
                self._act()
            except UNREACHABLE:
                continue

    def _act(self) -> None:
        parked = self._ids_in_state("parked")
        redrives = [id for id in parked if self._dice.random() < REDRIVEN]
        rollbacks = [id for id in parked if id not in redrives or self._dice.random() < ALSO_ROLLED_BACK]
        self._post("redrive", redrives)
        self._post("rollback", [*rollbacks, *self._sample("running"), *self._sample("rolling-back")])

    def roll_back_parked(self) -> int:
        """Roll back all parked sagas; returns their number, or 1 if the console cannot be reached."""
        try:
            parked = self._ids_in_state("parked")
            self._post("rollback", parked)
        except UNREACHABLE:
            return 1
        return len(parked)

    def _sample(self, state: str) -> list[str]:
        ids = self._ids_in_state(state)
        return self._dice.sample(ids, min(CANCELLED_PER_ROUND, len(ids)))

    def _ids_in_state(self, state: str) -> list[str]:
        status, page = ask(f"{self.url}/api/sagas?state={state}&limit=500", timeout_s=10)
        return [item["id"] for item in page["items"]] if status == 200 else []

    def _post(self, action: str, ids: list[str]) -> None:
        if not ids:
            return
        body: dict[str, Any] = {"ids": ids, "by": "chaos"}
        status, answer = ask(f"{self.url}/api/errors/{action}", body, timeout_s=30)
        if status == 200:
            self.accepted[action] += answer["count"]
        elif status != 503:
            self.failures.append(f"{action}: {status} {answer}")
