"""A call of the API: what is routed, and what the contract says about it, in one place."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Call:
    """One method on one path. The handler's docstring says what it is for."""

    method: str
    path: str
    handler: Handler
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | str | None = None  #: a model, or a media type
    status: int = 200
    body: type[BaseModel] | None = None
    also: Mapping[str, type[BaseModel]] = field(default_factory=dict)  #: by media type of what was sent
    problems: tuple[int, ...] = ()

    @property
    def summary(self) -> str:
        """The first line of what it is for."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]
