"""The records of one batch that are handled together."""

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.delay_queue import RetryLater
from saga_app.stream.produce.outputs import Outputs

#: The number of a record in its batch, and the state that its handler is called with (None the first time).
Item = tuple[int, Any]


class Run:
    """Records with shared outputs, and which of them are not finished when their handler returns.

    `items`: the records to handle. `left`: those that are to be handled one by one, because they may have to wait.
    `delayed`: those that are to be handled again later. All others are finished when their outputs are acknowledged.
    Set `outputs.origin` to the number of the record that sends.
    """

    __slots__ = ("_gone", "batch", "delayed", "items", "left", "outputs")

    def __init__(self, outputs: Outputs, batch: Batch, items: Sequence[Item], left: deque[Item]) -> None:
        self.outputs, self.batch, self.items, self.left = outputs, batch, items, left
        self.delayed: list[tuple[int, RetryLater]] = []
        self._gone: set[int] = set()

    def leave(self, index: int, state: Any) -> None:
        """Leave a record to the handler of single records, which is called with this state."""
        self.left.append((index, state))
        self._gone.add(index)

    def retry(self, index: int, later: RetryLater) -> None:
        """Handle a record again later."""
        self.delayed.append((index, later))
        self._gone.add(index)

    @property
    def handled(self) -> list[int]:
        """The numbers of the records that are handled."""
        return [index for index, _ in self.items if index not in self._gone]


#: Handles the records of a run that need not wait. It may wait for some, after it has left the others.
RunHandler = Callable[[Run], Coroutine[Any, Any, None]]
