"""What a client may ask of the lists: each parameter with its limits. A mistake is a 422 that names the parameter."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from saga_app.saga.messages import State
from saga_app.web.query import NO_NUL

#: Rows on a page.
DEFAULT, MOST = 50, 500

Limit = Annotated[int, Field(ge=1, le=MOST, description="rows on a page")]
Cursor = Annotated[str | None, Field(max_length=1000, description="the `next` of the page before")]
Text = Annotated[str | None, Field(min_length=1, max_length=200, pattern=NO_NUL)]


def _several(value: Any) -> Any:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


States = Annotated[list[State], BeforeValidator(_several)]


class SagaFilter(BaseModel):
    """Which sagas."""

    model_config = ConfigDict(extra="forbid")

    state: States = Field(default=[], description="one, or several separated by commas")
    department: Text = None
    q: Text = Field(
        None,
        description="part of a name, an e-mail address or an id, or the beginning of a device id; "
        "case, accents, normal forms and invisible characters do not matter",
    )
    overdue: bool | None = None
    trouble: bool | None = Field(None, description="parked, not rolled back completely, or overdue and under way")


class SagaQuery(SagaFilter):
    """`GET /api/sagas`."""

    sort: Literal["started_at", "-started_at", "ended_at", "-ended_at", "duration", "-duration", "name", "-name"] = (
        Field("-started_at", description="- turns it round; rows without a value come last")
    )
    limit: Limit = DEFAULT
    cursor: Cursor = None


class ErrorFilter(BaseModel):
    """Which dead letters."""

    model_config = ConfigDict(extra="forbid")

    id: Text = Field(None, description="of the saga")
    saga: Text = None
    service: Text = None
    step: Text = None
    error: Text = Field(None, description="the class of the error")
    topic: Text = None
    department: Text = None
    q: Text = Field(None, description="part of the reason or of the id")
    since: Text = Field(None, description="ISO 8601 time: not before")
    until: Text = Field(None, description="ISO 8601 time: before")
    open: bool = Field(True, description="those that wait for somebody; false: those that are dealt with")


class ErrorQuery(ErrorFilter):
    """`GET /api/errors`, newest first."""

    group: bool = Field(False, description="counted by service, step and error")
    limit: Limit = DEFAULT
    cursor: Cursor = None
