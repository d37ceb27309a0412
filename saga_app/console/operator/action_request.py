"""The body of a redrive or rollback request, and its validation."""

from typing import Annotated, Any, Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from saga_app.console.index.filters import ErrorFilter
from saga_app.saga.new_user import ONE_LINE
from saga_app.web import body, new_users
from saga_app.web.problem import Fault, Problem
from saga_app.web.query import NO_NUL

#: Maximum number of ids in a request, and its maximum duration if a rate is given (seconds).
MAX_IDS, MAX_DURATION_S = 10_000, 60.0

#: Maximum number of validation errors in a response.
MAX_REPORTED_ERRORS = 1000

Name = Annotated[str, Field(min_length=1, max_length=300, pattern=NO_NUL)]


class ActionRequest(BaseModel):
    """A redrive or rollback of the given ids, or of all dead letters that the filter matches."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=MAX_IDS,
        description="ids of sagas, or names of dead letters such as authorize[3]@42",
    )
    filter: ErrorFilter | None = Field(
        None, description="same fields as the query of GET /api/errors; {} matches all open dead letters"
    )
    dry_run: bool = Field(False, description="only return the count")
    by: str = Field(
        "an operator",
        pattern=ONE_LINE,
        min_length=1,
        max_length=64,
        description="name of the operator, recorded in the timeline; one line",
    )
    rate: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description=f"maximum number per second; the request may take at most {MAX_DURATION_S:g} s",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError('give either "ids" or a "filter"')
        return self

    def check_rate(self, count: int) -> None:
        """Raises `Problem` 422 if `count` actions at this rate exceed the maximum duration."""
        if self.rate is None or count / self.rate <= MAX_DURATION_S:
            return
        most, least = int(self.rate * MAX_DURATION_S), count / MAX_DURATION_S
        text = f"{count} actions at {self.rate:g} per second take more than {MAX_DURATION_S:g} s"
        help = f"request at most {most} actions, or at least {least:.1f} per second"
        raise Problem(422, f"{text}; nothing was sent: {help}", errors=[_fault(None, "rate", text)])


async def read(request: web.Request) -> ActionRequest:
    """Read and validate the body of a request. Raises `Problem` 400, 413, 415 or 422."""
    return parse(await body.read_json(request, new_users.MAX_LIST_BYTES))


def parse(given: Any) -> ActionRequest:
    """Validate decoded JSON. Raises `Problem` 422, which lists the invalid fields."""
    try:
        return ActionRequest.model_validate(given, strict=True)
    except ValidationError as error:
        faults = [_fault_of(each) for each in error.errors(include_url=False)][:MAX_REPORTED_ERRORS]
        said = "; ".join(f"{fault['field'] or 'the body'}: {fault['message']}" for fault in faults[:3])
        raise Problem(422, f"{said}; nothing was sent", errors=faults) from None


def _fault_of(error: Any) -> Fault:
    """A validation error with the index of the id or the name of the field."""
    loc = list(error["loc"])
    index = loc.pop() if loc and isinstance(loc[-1], int) else None
    nul = error.get("ctx", {}).get("pattern") == NO_NUL
    message = ("has a NUL character" if nul else _WORDS.get(error["type"])) or str(error["msg"]).removeprefix(
        "Value error, "
    )
    return _fault(index, ".".join(map(str, loc)) or None, message[:1].lower() + message[1:])


_WORDS = {
    "extra_forbidden": "unknown field",
    "string_pattern_mismatch": "has a line break or another control character",
    "model_type": 'is not an object with "ids" or a "filter"',
}


def not_found(ids: list[str], missing: set[str]) -> Problem:
    """The problem for ids that do not exist, each with its index."""
    faults = [_fault(index, "ids", f"{id} does not exist") for index, id in enumerate(ids) if id in missing]
    few = ", ".join(sorted(missing)[:10]) + (", …" if len(missing) > 10 else "")
    return Problem(404, f"no saga or dead letter with this id: {few}; nothing was sent", errors=faults)


def _fault(index: int | None, field: str | None, message: str) -> Fault:
    return {"index": index, "field": field, "message": message}
