"""What an operator asks for over HTTP: which dead letters or sagas, how fast, by whom. Every mistake is named."""

from typing import Annotated, Any, Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from saga_app.console.index.filters import ErrorFilter
from saga_app.saga.messages import ONE_LINE
from saga_app.web import body, new_users
from saga_app.web.problem import Fault, Problem
from saga_app.web.query import NO_NUL

#: The most ids in one request, and the longest that one may take at a given rate (seconds).
MOST, LONGEST_S = 10_000, 60.0

#: Mistakes in one answer that are named.
NAMED = 1000

Name = Annotated[str, Field(min_length=1, max_length=300, pattern=NO_NUL)]


class Order(BaseModel):
    """Redrive, or roll back: either these ids, or all dead letters that a filter matches."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="ids of sagas, or names of dead letters such as authorize[3]@42",
    )
    filter: ErrorFilter | None = Field(None, description="as the query of GET /api/errors; {} is all that is open")
    dry_run: bool = Field(False, description="only count")
    by: str = Field("somebody", pattern=ONE_LINE, min_length=1, max_length=64, description="who wants it, in one line")
    rate: float | None = Field(
        None, gt=0, allow_inf_nan=False, description=f"how many a second; all of it may take {LONGEST_S:g} s"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError('give either "ids" or a "filter"')
        return self

    def check_rate(self, count: int) -> None:
        """Raises a 422 if so many take too long."""
        if self.rate is None or count / self.rate <= LONGEST_S:
            return
        most, least = int(self.rate * LONGEST_S), count / LONGEST_S
        text = f"{count} at {self.rate:g} a second take more than {LONGEST_S:g} s"
        help = f"ask for at most {most} at once, or for at least {least:.1f} a second"
        raise Problem(422, f"{text}; nothing was sent: {help}", errors=[_fault(None, "rate", text)])


async def read(request: web.Request) -> Order:
    """The order in the body of a request. Raises `Problem` 400, 413, 415 or 422."""
    return checked(await body.read_json(request, new_users.LIST_BYTES))


def checked(given: Any) -> Order:
    """The order that this JSON is. Raises `Problem` 422."""
    try:
        return Order.model_validate(given, strict=True)
    except ValidationError as error:
        faults = [_named(each) for each in error.errors(include_url=False)][:NAMED]
        said = "; ".join(f"{fault['field'] or 'the body'}: {fault['message']}" for fault in faults[:3])
        raise Problem(422, f"{said}; nothing was sent", errors=faults) from None


def _named(error: Any) -> Fault:
    """An entry of `ids` by its index, a key of the filter by its name."""
    loc = list(error["loc"])
    index = loc.pop() if loc and isinstance(loc[-1], int) else None
    nul = error.get("ctx", {}).get("pattern") == NO_NUL
    message = ("has a NUL character" if nul else _WORDS.get(error["type"])) or str(error["msg"]).removeprefix(
        "Value error, "
    )
    return _fault(index, ".".join(map(str, loc)) or None, message[:1].lower() + message[1:])


_WORDS = {
    "extra_forbidden": "there is no such key",
    "string_pattern_mismatch": "has a line break or another control character",
    "model_type": 'is not an object with "ids" or a "filter"',
}


def unknown(ids: list[str], missing: set[str]) -> Problem:
    """All that is not there, each by its index."""
    faults = [_fault(index, "ids", f"there is no {id}") for index, id in enumerate(ids) if id in missing]
    few = ", ".join(sorted(missing)[:10]) + (", …" if len(missing) > 10 else "")
    return Problem(404, f"neither a saga nor a dead letter: {few}; nothing was sent", errors=faults)


def _fault(index: int | None, field: str | None, message: str) -> Fault:
    return {"index": index, "field": field, "message": message}
