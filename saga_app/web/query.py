"""Validates the query of a request with a pydantic model. Faults give a 422 that names each parameter."""

from typing import Any, TypeVar, get_origin

from aiohttp import web
from pydantic import BaseModel, ValidationError

from saga_app.web.problem import Fault, Problem

Q = TypeVar("Q", bound=BaseModel)

#: Text that every database can store: PostgreSQL does not accept NUL.
NO_NUL = r"^[^\x00]*$"

#: The maximum number of faults in one response.
MAX_FAULTS = 20


def read(kind: type[Q], request: web.Request) -> Q:
    """Validate the query. An empty parameter counts as absent. Raises `Problem` 422.

    A list parameter may be repeated, or have values separated by commas.
    """
    given: dict[str, str] = {}
    for name in request.query:
        given[name] = ",".join(request.query.getall(name))
    if twice := [name for name in given if len(request.query.getall(name)) > 1 and not _is_list(kind, name)]:
        raise _problem([_fault(name, "is given more than once") for name in twice[:MAX_FAULTS]])
    try:
        return kind.model_validate({name: value for name, value in given.items() if value != ""})
    except ValidationError as error:
        wrong = error.errors(include_url=False)[:MAX_FAULTS]
        raise _problem([_fault(str(each["loc"][0]), _words(kind, each)) for each in wrong]) from None


def _is_list(kind: type[BaseModel], name: str) -> bool:
    field = kind.model_fields.get(name)
    return field is not None and get_origin(field.annotation) is list


def _fault(field: str, message: str) -> Fault:
    return {"index": None, "field": field[:100], "message": message}


def _problem(faults: list[Fault]) -> Problem:
    return Problem(422, "; ".join(f"{fault['field']} {fault['message']}" for fault in faults), errors=faults)


def _words(kind: type[BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return f"is an unknown parameter; known parameters are {', '.join(kind.model_fields)}"
    if error.get("ctx", {}).get("pattern") == NO_NUL:
        return "has a NUL character"
    message = str(error["msg"])
    return message[:1].lower() + message[1:]
