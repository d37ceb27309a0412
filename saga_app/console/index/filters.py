"""Query parameters of the lists of sagas and dead letters, with their limits."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from saga_app.saga.states import State
from saga_app.web.query import NO_NUL

#: Number of rows on a page.
DEFAULT_LIMIT, MAX_LIMIT = 50, 500

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="maximum number of rows on a page")]
Cursor = Annotated[str | None, Field(max_length=1000, description="`next` of the previous page")]
Text = Annotated[str | None, Field(min_length=1, max_length=200, pattern=NO_NUL)]


def _several(value: Any) -> Any:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


States = Annotated[list[State], BeforeValidator(_several)]


class SagaFilter(BaseModel):
    """A filter of sagas."""

    model_config = ConfigDict(extra="forbid")

    state: States = Field(default=[], description="one or more states, separated by commas")
    department: Text = None
    q: Text = Field(
        None,
        description="part of a name, an e-mail address or an id, or the beginning of a device id; "
        "case, accents, normalization and invisible characters are ignored",
    )
    overdue: bool | None = None
    trouble: bool | None = Field(None, description="parked, rollback-incomplete, or unfinished and overdue")


class SagaQuery(SagaFilter):
    """Query of `GET /api/sagas`."""

    sort: Literal["started_at", "-started_at", "ended_at", "-ended_at", "duration", "-duration", "name", "-name"] = (
        Field("-started_at", description="sort key; - for descending order; rows without a value come last")
    )
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor = None


class ErrorFilter(BaseModel):
    """A filter of dead letters."""

    model_config = ConfigDict(extra="forbid")

    id: Text = Field(None, description="id of the saga")
    saga: Text = None
    service: Text = None
    step: Text = None
    error: Text = Field(None, description="error class")
    topic: Text = None
    department: Text = None
    q: Text = Field(None, description="part of the reason or of the id")
    since: Text = Field(None, description="ISO 8601 time; inclusive")
    until: Text = Field(None, description="ISO 8601 time; exclusive")
    open: bool = Field(True, description="true: open dead letters; false: resolved ones")


class ErrorQuery(ErrorFilter):
    """Query of `GET /api/errors`."""

    group: bool = Field(False, description="return counts by service, step and error")
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor = None
