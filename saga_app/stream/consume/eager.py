"""A coroutine that is run at once, up to where it first waits: for one that does not, nothing need be set up."""

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Eager(Generic[T]):
    """`Eager(coroutine)` begins it in the task that is running; `waits` says whether it has to; await it for the rest.

    What it raises without having waited is raised by `Eager()` itself.
    """

    __slots__ = ("_coroutine", "_result", "_until", "waits")

    _result: T

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        try:
            self._until = coroutine.send(None)
            self.waits = True
        except StopIteration as end:
            self.waits, self._result = False, end.value

    def __await__(self) -> Generator[Any, Any, T]:
        """As `yield from` would go on with it (PEP 380)."""
        until = self._until if self.waits else None
        while self.waits:
            failed: BaseException | None = None
            try:
                got = yield until
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:
                failed = error
            try:
                until = self._coroutine.send(got) if failed is None else self._coroutine.throw(failed)
            except StopIteration as end:
                self.waits, self._result = False, end.value
        return self._result
