"""The query of a request, checked by a model: a mistake is a 422 that names each parameter."""

from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from saga_app.service.problem import Fault, Problem

Q = TypeVar("Q", bound=BaseModel)


def read(kind: type[Q], request: web.Request) -> Q:
    """The query; a parameter without a value counts as not given. Raises `Problem` 422."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        given[name] = f"{given[name]},{value}" if name in given else value
    try:
        return kind.model_validate({name: value for name, value in given.items() if value != ""})
    except ValidationError as error:
        faults: list[Fault] = [
            {"index": None, "field": str(e["loc"][0]), "message": _words(kind, e)}
            for e in error.errors(include_url=False)
        ]
        raise Problem(
            422, "; ".join(f"{fault['field']} {fault['message']}" for fault in faults), errors=faults
        ) from None


def _words(kind: type[BaseModel], error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return f"is no parameter; there are {', '.join(kind.model_fields)}"
    message = str(error["msg"])
    return message[:1].lower() + message[1:]
