"""A call of the API: its route together with its description for the OpenAPI document."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Call:
    """One method on one path. The first line of the handler's docstring is the summary."""

    method: str
    path: str
    handler: Handler
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | str | None = None  #: a model, or a media type
    status: int = 200
    body: type[BaseModel] | None = None
    also: Mapping[str, type[BaseModel]] = field(default_factory=dict)  #: by media type of the request body
    problems: tuple[int, ...] = ()

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]
