"""`/openapi.json` and `/asyncapi.json`, generated from the calls, the messages and the plan."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from aiohttp import web
from msgspec import Struct
from msgspec.json import schema_components
from pydantic import BaseModel, TypeAdapter

from saga_app.active_plan import PLAN, ROWS_CHANGELOG
from saga_app.console.http import schemas
from saga_app.console.http.routes import Call
from saga_app.saga import json_text
from saga_app.saga.messages import DLQ, SIGNALS, DeadLetter, Message, Row, Signal
from saga_app.web.guard import OPEN
from saga_app.web.idempotency import KEY_HEADER
from saga_app.web.new_users import MAX_LIST_ENTRIES, NewUser
from saga_app.web.problem import CONTENT_TYPE
from saga_app.web.session import COOKIE

_REF = "#/components/schemas/{model}"


def _version() -> str:
    try:
        return version("faust-saga-onboarding")
    except PackageNotFoundError:
        return "0"


class Schemas:
    """Collects referenced JSON schemas."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def ref(self, kind: type) -> dict[str, Any]:
        """A reference to the schema of a class, which is collected."""
        if issubclass(kind, Struct):
            (reference,), found = schema_components((kind,), ref_template=_REF.format(model="{name}"))
            self.found |= found
            return reference
        schema = TypeAdapter(kind).json_schema(ref_template=_REF)
        self.found |= schema.pop("$defs", {})
        name = schema.get("title", kind.__name__)
        if "$ref" in schema:
            return schema
        self.found[name] = schema
        return {"$ref": _REF.format(model=name)}


def openapi(calls: Sequence[Call]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the API."""
    known = Schemas()
    paths: dict[str, Any] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Onboarding console",
            "version": _version(),
            "description": "Onboard users, and inspect, redrive and roll back sagas.",
        },
        "paths": paths,
        "components": {
            "schemas": known.found,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def _operation(call: Call, known: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": getattr(call.handler, "__name__", "call"),
        "summary": call.summary,
        "parameters": [*_in_path(call), *_in_query(call.query, known)],
        "responses": {str(call.status): _answer(call, known), **_problems(call, known)},
    }
    if call.body is not None:
        operation["requestBody"] = _users(known) if call.body is NewUser else _body(call.body, known)
    if call.path not in OPEN:
        operation["security"] = [
            {},
            {"token": []},
            {"session": []},
        ]  # {}: clients of a trusted network need no credentials
    if call.body is NewUser:
        operation["parameters"].append(_header(KEY_HEADER, "requests with the same key and body are processed once"))
    return operation


def _in_path(call: Call) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", call.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _in_query(query: type[BaseModel] | None, known: Schemas) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = query.model_json_schema(ref_template=_REF)
    known.found |= schema.get("$defs", {})
    return [_parameter(name, dict(described)) for name, described in schema["properties"].items()]


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    described = schema.pop("description", None)
    parameter = {"name": name, "in": "query", "required": False, "allowEmptyValue": True, "schema": schema}
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": False}
    return parameter | ({"description": described} if described else {})


def _header(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "maxLength": 255}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _body(kind: type[BaseModel], known: Schemas) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": known.ref(kind)}}}


def _users(known: Schemas) -> dict[str, Any]:
    one = known.ref(NewUser)
    several = {
        "type": "array",
        "items": one,
        "minItems": 1,
        "description": f"at most {MAX_LIST_ENTRIES} users, otherwise 413",
    }
    csv = {"type": "string", "description": "a header line with name, email, department and optionally id"}
    content = {"application/json": {"schema": {"oneOf": [one, several]}}, "text/csv": {"schema": csv}}
    return {"required": True, "content": content}


def _answer(call: Call, known: Schemas) -> dict[str, Any]:
    if isinstance(call.answer, str):
        return {"description": call.summary, "content": {call.answer: {"schema": {"type": "string"}}}}
    if call.answer is None:
        return {"description": call.summary}
    schema = known.ref(call.answer)
    if call.body is NewUser:
        schema = {"oneOf": [schema, known.ref(schemas.AcceptedList)]}
    return {"description": call.summary, "content": {"application/json": {"schema": schema}}}


def _problems(call: Call, known: Schemas) -> dict[str, Any]:
    content = {CONTENT_TYPE: {"schema": known.ref(schemas.ProblemBody)}}
    refused = () if call.path in OPEN else (401, 403, 429)
    statuses = sorted({*call.problems, *refused})
    return {str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document: a channel for each topic, and an operation for each step."""
    known = Schemas()
    kinds = {"Request": Message, "Row": Row, "Signal": Signal, "DeadLetter": DeadLetter}
    messages = {
        name: {"name": name, "contentType": "application/json", "payload": known.ref(kind)}
        for name, kind in kinds.items()
    }
    messages["DeadLetter"] = {
        "name": "DeadLetter",
        "summary": "the bytes of the original; the header dead-letter describes the failure",
        "headers": {"type": "object", "properties": {"dead-letter": known.ref(DeadLetter)}},
        "payload": {"description": "the bytes of the original"},
    }
    held = {**dict.fromkeys(PLAN.topics, "Request"), SIGNALS: "Signal", DLQ: "DeadLetter", ROWS_CHANGELOG: "Row"}
    channels = {
        topic: {
            "address": topic,
            "messages": {kind: {"$ref": f"#/components/messages/{kind}"}},
            "bindings": {"kafka": {"topic": topic}},
        }
        for topic, kind in held.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Onboarding", "version": _version()},
        "channels": channels,
        "operations": _operations(),
        "components": {"schemas": known.found, "messages": messages},
    }


def _operations() -> dict[str, Any]:
    return {
        f"{step.service}.{step.name}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{step.topic}"},
            "summary": (step.act.__doc__ or "").strip().splitlines()[0],
        }
        for step in PLAN.all_steps
    }


def add_routes(app: web.Application, calls: Sequence[Call]) -> None:
    """Add `/openapi.json` and `/asyncapi.json` to the router; both are generated once."""
    for path, contract in (("/openapi.json", openapi(calls)), ("/asyncapi.json", asyncapi())):
        app.router.add_get(path, _handler(json_text.dumps(contract)))


def _handler(body: bytes):  # type: ignore[no-untyped-def]
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return answer
