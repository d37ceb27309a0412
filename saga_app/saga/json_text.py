"""JSON through msgspec, with one kind of error for everything that cannot be decoded."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

#: JSON as UTF-8. Structs, dataclasses and datetimes are encoded as well.
dumps: Callable[[Any], bytes] = msgspec.json.Encoder().encode

_decode = msgspec.json.Decoder().decode

#: The end of msgspec's errors: " - at `$.history[0].ended_at`".
_PATH = re.compile(r" - at `(?:key in )?\$\.?(.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`\Z", re.DOTALL)


class NotJson(ValueError):
    """The text is not JSON; the message says why, and contains nothing of the text."""


class WrongShape(ValueError):
    """The JSON has another shape than its reader expects. `field`: the path, such as `user.name`; empty for the whole.

    The message names what is wrong with the field, and contains nothing of the text.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field or 'message'}: {problem}")
        self.field, self.problem = field, problem


def loads(text: bytes | str) -> Any:
    """Decode any JSON. Raises `NotJson`."""
    try:
        return decode_with(_decode, text)
    except WrongShape as error:  # such as a number out of range
        raise NotJson(error.problem) from None


def decode_with(decoder: Callable[[bytes | str], T], text: bytes | str) -> T:
    """Decode with a decoder of msgspec. Raises `NotJson`, or `WrongShape` with the first problem."""
    try:
        return decoder(text)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from None
    except msgspec.DecodeError as error:
        raise NotJson(_reason(str(error))) from None
    except UnicodeDecodeError:
        raise NotJson("it is not UTF-8") from None
    except RecursionError:
        raise NotJson("it is nested too deeply") from None


def _reason(text: str) -> str:
    """The reason in an error of msgspec, in the words of this project."""
    if text == "Input data was truncated":
        return "it ends too early"
    return text.removeprefix("JSON is malformed: ")


def _wrong_shape(text: str) -> WrongShape:
    found = _PATH.search(text)
    field, problem = (found[1], text[: found.start()]) if found else ("", text)
    if missing := _MISSING.match(problem):
        return WrongShape(f"{field}.{missing[1]}".removeprefix("."), "is missing")
    return WrongShape(field, _problem(problem))


def _problem(text: str) -> str:
    if text in _PROBLEMS:
        return _PROBLEMS[text]
    if text.startswith("Invalid enum value"):  # the value follows
        return "is not one of the allowed values"
    if length := _LENGTH.match(text):
        return "is empty" if length[1] == ">=" else f"is longer than {length[2]} characters"
    if wanted := _EXPECTED.match(text):
        return f"is not {_KINDS.get(wanted[1], wanted[1])}"
    return text[:1].lower() + text[1:].replace("`", "")


_PROBLEMS = {
    "Invalid RFC3339 encoded datetime": "is not a time in ISO 8601",
    "Expected `datetime` with a timezone component": "is a time without a time zone",
}
_LENGTH = re.compile(r"Expected `str` of length (<=|>=) (\d+)\Z")
_EXPECTED = re.compile(r"Expected `([a-z]+)(?: \| null)?`, got `[a-z]+`\Z")
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "datetime": "a time in ISO 8601",
}
