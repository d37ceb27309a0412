"""Loads the settings of a process, explains invalid values, and lists settings with their values."""

import difflib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from saga_app.settings.settings import PREFIX, Settings, variable


class Described(NamedTuple):
    """A setting as it is displayed, with secrets masked."""

    variable: str
    value: str
    default: str
    meaning: str
    allowed: str


def load() -> Settings:
    """The settings of this process.

    For an invalid value, prints the variable and the allowed values to stderr and exits with code 2.
    """
    for line in unknown_variables(os.environ):
        print(f"warning: {line}", file=sys.stderr)
    try:
        return Settings()
    except ValidationError as error:
        for line in _error_lines(error):
            print(line, file=sys.stderr)
        raise SystemExit(2) from None


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A warning for each SAGA_ variable that is not a setting."""
    known = [variable(name) for name in Settings.model_fields]
    for name in environment:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            yield f"unknown variable {name}" + (f", did you mean {near[0]}?" if near else "; `saga settings` lists all")


def describe(settings: Settings) -> list[Described]:
    """All settings in the order of their definition."""
    return [
        Described(
            variable(name),
            _display_value(name, getattr(settings, name)),
            _display_value(name, field.default),
            field.description or "",
            _allowed(field),
        )
        for name, field in Settings.model_fields.items()
    ]


def _error_lines(error: ValidationError) -> Iterator[str]:
    for name in dict.fromkeys(str(problem["loc"][0]) for problem in error.errors()):
        value = os.environ.get(variable(name), "")
        shown = "***" if name == "token" else _without_password(value)
        yield f"{variable(name)}={shown} is invalid; allowed: {_allowed(Settings.model_fields[name])}"


def _allowed(field: FieldInfo) -> str:
    return str((field.json_schema_extra or {})["allowed"])  # type: ignore[index]


def _display_value(name: str, value: Any) -> str:
    match value:
        case None | "":
            return ""
        case bool():
            return str(int(value))
        case float():
            return f"{value:g}"
        case SecretStr():
            return "***"
        case tuple() if name in ("trusted", "proxies", "public_url"):
            return ",".join(map(str, value)) or ("none" if name == "trusted" else "")
    return _without_password(str(value))


def _without_password(text: str) -> str:
    """The URL with its password masked, up to the last @ because a password may contain one."""
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", text)
