"""The operator: redrives and rolls back while it storms, and afterwards until nobody waits any more."""

import random
import threading
from collections import Counter
from typing import Any

from devtools.http_client import UNREACHABLE, ask

ROUND_S = 3.0

#: Of those who are parked; of those who are under way, a few are called back each round.
REDRIVE, BOTH, CALLED_BACK = 0.5, 0.1, 2


class OperatorBot:
    """Rounds in a thread of its own; a call that is not answered is made again in the next round."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self._dice = random.Random(f"operator {seed}")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.done: Counter[str] = Counter()
        self.refused: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(ROUND_S):
            try:
                self._round()
            except UNREACHABLE:
                continue

    def _round(self) -> None:
        parked = self._ids("parked")
        again = [id for id in parked if self._dice.random() < REDRIVE]
        back = [id for id in parked if id not in again or self._dice.random() < BOTH]
        self._order("redrive", again)
        self._order("rollback", [*back, *self._some("running"), *self._some("rolling-back")])

    def settle(self) -> int:
        """Roll back all who are parked; how many there were."""
        try:
            parked = self._ids("parked")
            self._order("rollback", parked)
        except UNREACHABLE:
            return 1
        return len(parked)

    def _some(self, state: str) -> list[str]:
        ids = self._ids(state)
        return self._dice.sample(ids, min(CALLED_BACK, len(ids)))

    def _ids(self, state: str) -> list[str]:
        status, page = ask(f"{self.url}/api/sagas?state={state}&limit=500", timeout_s=10)
        return [item["id"] for item in page["items"]] if status == 200 else []

    def _order(self, what: str, ids: list[str]) -> None:
        if not ids:
            return
        body: dict[str, Any] = {"ids": ids, "by": "chaos"}
        status, answer = ask(f"{self.url}/api/errors/{what}", body, timeout_s=30)
        if status == 200:
            self.done[what] += answer["count"]
        elif status != 503:
            self.refused.append(f"{what}: {status} {answer}")
