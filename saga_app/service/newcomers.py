"""New users as clients write them: one JSON object, a JSON array, or CSV with a header line. Every mistake is named."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from saga_app.saga.messages import Department, Email, Id, Name, User, words
from saga_app.saga.new_user import checked_email, checked_identifier, checked_name
from saga_app.service.problem import Fault, Problem

MIB = 1024 * 1024

#: The most that one request may hold: bytes for one user, bytes for a list, users in a list.
ONE_BYTES, LIST_BYTES, LIST_ENTRIES = MIB, 10 * MIB, 10_000

FIELDS = ("name", "email", "department", "id")

#: Mistakes named in one answer; more help nobody.
NAMED = 1000


#: How a body may be packed; aiohttp unpacks it.
PACKED = ("", "identity", "gzip", "deflate")


class Newcomer(BaseModel):
    """A user to be onboarded; without an id one is made. The rules are those of every new user, also by Kafka."""

    model_config = ConfigDict(title="NewUser")

    name: Annotated[Name, AfterValidator(checked_name)]
    email: Annotated[Email, AfterValidator(checked_email)]
    department: Annotated[Department, AfterValidator(checked_identifier)]
    id: Annotated[Id, StringConstraints(strip_whitespace=True), AfterValidator(checked_identifier)] | None = None

    @property
    def user(self) -> User:
        """As it goes on the wire."""
        return User(self.name, self.email, self.department)


_ONE = TypeAdapter(Newcomer)


@dataclass(frozen=True, slots=True)
class Newcomers:
    """What a request asked for: `many` tells a list (of one, perhaps) from a single user."""

    entries: list[Newcomer]
    many: bool


async def read(request: web.Request) -> Newcomers:
    """The users in the body of a request. Raises `Problem` 400, 413, 415 or 422."""
    kind, charset = request.content_type, (request.charset or "utf-8").lower()
    if kind not in ("application/json", "text/csv"):
        given = request.headers.get("Content-Type", "nothing")
        raise Problem(415, f"the Content-Type is {given}; send application/json or text/csv")
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(415, f"the charset is {charset}; send UTF-8")
    if (packed := request.headers.get("Content-Encoding", "").strip().lower()) not in PACKED:
        offer = {"Accept-Encoding": "gzip, deflate", "Connection": "close"}
        raise Problem(415, f"the Content-Encoding is {packed}; send gzip, deflate or none", headers=offer)
    body = await limited(request, LIST_BYTES)
    return from_csv(body) if kind == "text/csv" else from_json(body)


async def limited(request: web.Request, most: int) -> bytes:
    """The body, or a 413 as soon as it is known to be longer than `most` bytes."""
    if (request.content_length or 0) > most:
        raise _too_large(most)
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> Problem:
    limit = f"{most // MIB} MiB" if most >= MIB else f"{most // 1024} KiB"
    return Problem(413, f"the body is over {limit}", headers={"Connection": "close"})


def from_json(body: bytes) -> Newcomers:
    """One object or an array of objects. Raises `Problem`."""
    try:
        given = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    if isinstance(given, list):
        return Newcomers(_checked(given), many=True)
    if len(body) > ONE_BYTES:
        raise _too_large(ONE_BYTES)
    return Newcomers(_checked([given]), many=False)


def from_csv(body: bytes) -> Newcomers:
    """A header line that names name, email, department and perhaps id, in any order; then a line a user."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem(400, f"the CSV is not UTF-8: byte {error.start} does not fit") from None
    header_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=header_line.count)  # spreadsheets of half the world write semicolons
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        filled = [line for line in lines if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise Problem(400, f"the CSV cannot be read: line {lines.line_num}: {error}") from None
    if not filled:
        raise Problem(422, "the CSV is empty", errors=[_fault(None, None, "there is no header line")])
    header = [cell.strip().lower() for cell in filled[0]]
    if faults := list(_header_faults(header)):
        raise Problem(422, "the header line is wrong; nothing was sent", errors=faults)
    return Newcomers(_checked([_cells(header, line) for line in filled[1:]]), many=True)


def _header_faults(header: list[str]) -> Iterator[Fault]:
    for field in FIELDS:
        if header.count(field) > 1:
            yield _fault(None, field, "the header line names it twice")
        elif field not in header and field != "id":
            yield _fault(None, field, f"the header line has no such column; it has {', '.join(header)}"[:300])


def _cells(header: list[str], line: list[str]) -> dict[str, str] | str:
    """A line as an object, or what is wrong with it."""
    if len(line) != len(header):
        return f"the line has {len(line)} cells, the header {len(header)}"
    cells = {field: cell for field, cell in zip(header, line, strict=True) if field in FIELDS}
    if not cells.get("id", "").strip():
        cells.pop("id", None)
    return cells


def _checked(given: list[Any]) -> list[Newcomer]:
    """All of them, or a `Problem` that names every mistake by index and field."""
    if not given:
        raise Problem(422, "there is nobody in the list", errors=[_fault(None, None, "the list is empty")])
    if len(given) > LIST_ENTRIES:
        raise Problem(413, f"{len(given)} users; at most {LIST_ENTRIES} in one request")
    entries: list[Newcomer] = []
    faults: list[Fault] = []
    for index, entry in enumerate(given):
        try:
            entries.append(_ONE.validate_python(entry))
        except ValidationError as error:
            faults += _faults(index, entry, error)
    faults += _twice(entries) if not faults else []
    refuse(faults, len(given))
    return entries


def refuse(faults: list[Fault], total: int) -> None:
    """A 422 if there are any."""
    if faults:
        wrong = len({fault["index"] for fault in faults})
        detail = "this is not a user" if total == 1 else f"{wrong} of {total} users are wrong"
        more = f" (the first {NAMED} mistakes are named)" if len(faults) > NAMED else ""
        raise Problem(422, f"{detail}; nothing was sent{more}", errors=faults[:NAMED])


def _faults(index: int, entry: Any, error: ValidationError) -> Iterable[Fault]:
    """In words, and without the input, which may be personal data."""
    if not isinstance(entry, dict):
        return [_fault(index, None, entry if _is_own(entry) else "not an object with name, email and department")]
    return [_fault(index, str(e["loc"][0]), _words(e)) for e in error.errors(include_url=False)]


def _is_own(entry: Any) -> bool:
    return isinstance(entry, str) and entry.startswith("the line has ")


def _words(error: Any) -> str:
    if error["loc"][0] == "id" and error["type"] == "string_pattern_mismatch":
        return "may have letters, digits and . : @ + ~ _ - only"
    return words(error)


def _twice(entries: list[Newcomer]) -> list[Fault]:
    first: dict[str, int] = {}
    faults = []
    for index, entry in enumerate(entries):
        if entry.id is not None and first.setdefault(entry.id, index) != index:
            faults.append(_fault(index, "id", f"is the same as that of entry {first[entry.id]}"))
    return faults


def _fault(index: int | None, field: str | None, message: str) -> Fault:
    return {"index": index, "field": field, "message": message}
