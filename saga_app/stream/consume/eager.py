"""Runs a coroutine immediately up to its first wait, so that one that never waits needs no task and no timeout."""

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Eager(Generic[T]):
    """Starts a coroutine in the running task. `waits`: whether it has to wait; then await this object for the rest.

    An exception that the coroutine raises before its first wait is raised by the constructor.
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

    @property
    def result(self) -> T:
        """The result; only if it does not have to wait."""
        return self._result

    def __await__(self) -> Generator[Any, Any, T]:
        """Delegate to the coroutine as `yield from` does (PEP 380), from its first wait on."""
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
