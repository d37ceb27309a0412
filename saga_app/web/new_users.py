"""New users as clients write them: one JSON object, a JSON array, or CSV with a header line. Every mistake is named."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import orjson
from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from saga_app.saga.messages import Department, Email, Id, Name, User, words
from saga_app.saga.new_user import checked_email, checked_identifier, checked_name
from saga_app.web.csv_table import CsvError, Record, column_names, read_records
from saga_app.web.problem import Fault, Problem
from saga_app.web.text_encoding import DecodedText, Undecodable, UnknownCharset, decode_text

MIB = 1024 * 1024

#: The most that one request may hold: bytes for one user, bytes for a list, users in a list.
ONE_BYTES, LIST_BYTES, LIST_ENTRIES = MIB, 10 * MIB, 10_000

FIELDS = ("name", "email", "department", "id")

#: How Excel workbooks begin, of today and of before 2007.
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")

#: Mistakes named in one answer; more help nobody.
NAMED = 1000


#: How a body may be packed; aiohttp unpacks it.
PACKED = ("", "identity", "gzip", "deflate")


class NewUser(BaseModel):
    """A user to be onboarded; without an id one is made. The rules are those of every new user, also by Kafka."""

    model_config = ConfigDict(title="NewUser")

    name: Annotated[Name, AfterValidator(checked_name)]
    email: Annotated[Email, AfterValidator(checked_email)]
    department: Annotated[Department, AfterValidator(checked_identifier)]
    id: Annotated[Id, StringConstraints(strip_whitespace=True), AfterValidator(checked_identifier)] | None = None
    again: Annotated[
        bool,
        Field(description="begin again: if the saga of this id was rolled back, start the next one, such as ada~2"),
    ] = False

    @model_validator(mode="after")
    def _names_what_to_repeat(self) -> Self:
        if self.again and self.id is None:
            raise ValueError("again needs the id of the saga that was rolled back")
        return self

    @property
    def user(self) -> User:
        """As it goes on the wire."""
        return User(self.name, self.email, self.department)


_ONE = TypeAdapter(NewUser)


@dataclass(frozen=True, slots=True)
class NewUsers:
    """What a request asked for: `many` tells a list (of one, perhaps) from a single user.

    Of a CSV file, `lines` are those at which the entries start, and `encoding` is the one in which it was read.
    """

    entries: list[NewUser]
    many: bool
    lines: Sequence[int] = ()
    encoding: str | None = None


async def read(request: web.Request) -> NewUsers:
    """The users in the body of a request. Raises `Problem` 400, 413, 415 or 422."""
    kind, charset = request.content_type, request.charset
    if kind not in ("application/json", "text/csv"):
        given = request.headers.get("Content-Type", "nothing")
        raise Problem(415, f"the Content-Type is {given}; send application/json or text/csv")
    if kind == "application/json" and (charset or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(415, f"the charset is {charset}; JSON is UTF-8")
    if (packed := request.headers.get("Content-Encoding", "").strip().lower()) not in PACKED:
        offer = {"Accept-Encoding": "gzip, deflate", "Connection": "close"}
        raise Problem(415, f"the Content-Encoding is {packed}; send gzip, deflate or none", headers=offer)
    body = await limited(request, LIST_BYTES)
    return from_csv(body, charset) if kind == "text/csv" else from_json(body)


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


def from_json(body: bytes) -> NewUsers:
    """One object or an array of objects. Raises `Problem`."""
    try:
        given = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    if isinstance(given, list):
        return NewUsers(_checked(given), many=True)
    if len(body) > ONE_BYTES:
        raise _too_large(ONE_BYTES)
    return NewUsers(_checked([given]), many=False)


def from_csv(body: bytes, charset: str | None = None, limit: int = LIST_ENTRIES) -> NewUsers:
    """A header line that names name, email, department and perhaps id, in any order; then a line a user.

    `charset` is the one that the sender declared, `limit` is the most users. Raises `Problem`.
    """
    text, encoding = _decoded(body, charset)
    try:
        records = [*read_records(text, frozenset(FIELDS))]
    except CsvError as error:
        detail = f"the CSV cannot be read: line {error.line}: {error}; nothing was sent"
        raise Problem(400, detail, errors=[_fault(None, None, str(error), error.line)]) from None
    columns = _header(records)
    lines = [record.line for record in records[1:]]
    entries = _checked([_cells(columns, record) for record in records[1:]], lines, limit)
    return NewUsers(entries, many=True, lines=lines, encoding=encoding)


def _header(records: list[Record]) -> list[str]:
    """The columns that the first record names, or a `Problem`."""
    if not records:
        needed = f"it needs a header line with {', '.join(FIELDS[:3])}"
        raise Problem(422, f"the CSV is empty: {needed}; nothing was sent", errors=[_fault(None, None, needed)])
    columns = column_names(records[0].cells)
    if faults := list(_header_faults(columns, records[0].line)):
        raise Problem(422, f"the header, line {records[0].line}, is wrong; nothing was sent", errors=faults)
    return columns


def _decoded(body: bytes, charset: str | None) -> DecodedText:
    if body.startswith(WORKBOOKS):
        raise Problem(422, "this is a workbook (.xlsx, .xls), not CSV: save it as 'CSV UTF-8'; nothing was sent")
    try:
        return decode_text(body, charset)
    except UnknownCharset as error:
        raise Problem(415, f"{error}; nothing was sent") from None
    except Undecodable as error:
        fault = _fault(None, None, str(error), error.line)
        raise Problem(422, f"the CSV cannot be decoded: line {error.line}: {error}", errors=[fault]) from None


def _header_faults(header: list[str], line: int) -> Iterator[Fault]:
    for field in FIELDS:
        if header.count(field) > 1:
            yield _fault(None, field, "the header line names it twice", line)
        elif field not in header and field != "id":
            there = ", ".join(header)[:200]
            yield _fault(None, field, f"the header line has no such column; it has {there}", line)


def _cells(header: list[str], record: Record) -> dict[str, str] | str:
    """A record as an object, or what is wrong with it. Empty cells beyond the header are the spreadsheet's."""
    cells = record.cells
    if len(cells) < len(header) or any(cell.strip() for cell in cells[len(header) :]):
        return f"the line has {len(cells)} cells, the header {len(header)}"
    entry = {field: cell for field, cell in zip(header, cells, strict=False) if field in FIELDS}
    if not entry.get("id", "").strip():
        entry.pop("id", None)
    return entry


def _checked(given: list[Any], lines: Sequence[int] = (), limit: int = LIST_ENTRIES) -> list[NewUser]:
    """All of them, or a `Problem` that names every mistake by index and field, and by its line in a CSV file."""
    if not given:
        raise Problem(
            422, "there is nobody in the list; nothing was sent", errors=[_fault(None, None, "the list is empty")]
        )
    if len(given) > limit:
        raise Problem(413, f"{len(given)} users; at most {limit} in one request")
    entries: list[NewUser] = []
    faults: list[Fault] = []
    for index, entry in enumerate(given):
        try:
            entries.append(_ONE.validate_python(entry))
        except ValidationError as error:
            faults += _faults(index, entry, error)
    faults += _twice(entries, lines) if not faults else []
    refuse(faults, len(given), lines)
    return entries


def refuse(faults: list[Fault], total: int, lines: Sequence[int] = ()) -> None:
    """A 422 if there are any; `lines` are those of the entries of a CSV file."""
    if not faults:
        return
    for fault in faults:
        if lines and fault["index"] is not None:
            fault["line"] = lines[fault["index"]]
    wrong = len({fault["index"] for fault in faults})
    detail = "this is not a user" if total == 1 else f"{wrong} of {total} users are wrong"
    where = f", first on line {faults[0]['line']}" if "line" in faults[0] else ""
    more = f" (the first {NAMED} mistakes are named)" if len(faults) > NAMED else ""
    raise Problem(422, f"{detail}{where}; nothing was sent{more}", errors=faults[:NAMED])


def _faults(index: int, entry: Any, error: ValidationError) -> Iterable[Fault]:
    """In words, and without the input, which may be personal data."""
    if not isinstance(entry, dict):
        return [_fault(index, None, entry if _is_own(entry) else "not an object with name, email and department")]
    return [
        _fault(index, str(e["loc"][0]) if e["loc"] else "again", _words(e)) for e in error.errors(include_url=False)
    ]


def _is_own(entry: Any) -> bool:
    return isinstance(entry, str) and entry.startswith("the line has ")


def _words(error: Any) -> str:
    if error["loc"] == ("id",) and error["type"] == "string_pattern_mismatch":
        return "may have letters, digits and . : @ + ~ _ - only"
    return words(error)


def _twice(entries: list[NewUser], lines: Sequence[int]) -> list[Fault]:
    first: dict[str, int] = {}
    faults = []
    for index, entry in enumerate(entries):
        if entry.id is not None and (other := first.setdefault(entry.id, index)) != index:
            where = f"on line {lines[other]}" if lines else f"of entry {other}"
            faults.append(_fault(index, "id", f"is the same as that {where}"))
    return faults


def _fault(index: int | None, field: str | None, message: str, line: int | None = None) -> Fault:
    fault: Fault = {"index": index, "field": field, "message": message}
    if line is not None:
        fault["line"] = line
    return fault
