"""Parses and validates new users: a JSON object, a JSON array, or CSV with a header line. All faults are reported."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from saga_app.saga import json_text, new_user
from saga_app.saga.identifier import ID_PATTERN, MAX_ID_LENGTH
from saga_app.saga.json_text import NotJson
from saga_app.saga.messages import User
from saga_app.web.csv_table import CsvError, CsvRecord, column_names, read_records
from saga_app.web.problem import Fault, Problem
from saga_app.web.text_encoding import DecodedText, Undecodable, UnknownCharset, decode_text

MIB = 1024 * 1024

#: Limits of one request: size of a single user and of a list in bytes, and number of users in a list.
MAX_USER_BYTES, MAX_LIST_BYTES, MAX_LIST_ENTRIES = MIB, 10 * MIB, 10_000

FIELDS = ("name", "email", "department", "id")

#: The first bytes of Excel workbooks, current (.xlsx) and before 2007 (.xls).
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")

#: The maximum number of faults in one response.
MAX_FAULTS = 1000


#: The supported content encodings; aiohttp decompresses them.
CONTENT_ENCODINGS = ("", "identity", "gzip", "deflate")


def _limits(max_length: int, **described: str) -> Any:
    """The limits of a text for the schema of the API; its validator checks them after normalisation."""
    return Field(json_schema_extra={"minLength": 1, "maxLength": max_length, **described})


class NewUser(BaseModel):
    """A user to be onboarded; an id is generated if none is given. The rules are the same for all clients."""

    model_config = ConfigDict(title="NewUser")

    name: Annotated[
        str, AfterValidator(new_user.checked_name), _limits(new_user.MAX_NAME_LENGTH, pattern=new_user.ONE_LINE)
    ]
    email: Annotated[
        str,
        AfterValidator(new_user.checked_email),
        _limits(new_user.MAX_EMAIL_LENGTH, description="an e-mail address"),
    ]
    department: Annotated[
        str,
        AfterValidator(new_user.checked_department),
        _limits(new_user.MAX_DEPARTMENT_LENGTH, pattern=new_user.ONE_LINE),
    ]
    id: Annotated[str, AfterValidator(new_user.checked_id), _limits(MAX_ID_LENGTH, pattern=ID_PATTERN)] | None = None
    again: Annotated[
        bool,
        Field(description="begin again: if the saga of this id was rolled back, start the next one, such as ada~2"),
    ] = False

    @model_validator(mode="after")
    def _has_id_to_repeat(self) -> Self:
        if self.again and self.id is None:
            raise ValueError("again needs the id of the saga that was rolled back")
        return self

    @property
    def user(self) -> User:
        """The user in the wire format."""
        return User(name=self.name, email=self.email, department=self.department)


_ONE = TypeAdapter(NewUser)


@dataclass(frozen=True, slots=True)
class NewUsers:
    """The users of a request. `many`: whether it was a list, even of one user.

    For a CSV file only: `lines` are the line numbers at which the entries start, `encoding` is the detected encoding.
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
    if (encoding := request.headers.get("Content-Encoding", "").strip().lower()) not in CONTENT_ENCODINGS:
        offer = {"Accept-Encoding": "gzip, deflate", "Connection": "close"}
        raise Problem(415, f"the Content-Encoding is {encoding}; send gzip, deflate or none", headers=offer)
    body = await read_limited(request, MAX_LIST_BYTES)
    return from_csv(body, charset) if kind == "text/csv" else from_json(body)


async def read_limited(request: web.Request, max_bytes: int) -> bytes:
    """Read the body. Raises `Problem` 413 as soon as it is known to exceed `max_bytes`."""
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> Problem:
    limit = f"{max_bytes // MIB} MiB" if max_bytes >= MIB else f"{max_bytes // 1024} KiB"
    return Problem(413, f"the body exceeds {limit}", headers={"Connection": "close"})


def from_json(body: bytes) -> NewUsers:
    """Parse one JSON object or an array of objects. Raises `Problem`."""
    try:
        given = json_text.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except NotJson as error:
        raise Problem(400, f"the body is not JSON: {error}") from None
    if isinstance(given, list):
        return NewUsers(_checked(given), many=True)
    if len(body) > MAX_USER_BYTES:
        raise _too_large(MAX_USER_BYTES)
    return NewUsers(_checked([given]), many=False)


def from_csv(body: bytes, charset: str | None = None, limit: int = MAX_LIST_ENTRIES) -> NewUsers:
    """Parse CSV: a header line with name, email, department and optionally id, in any order; then one line per user.

    `charset`: declared by the sender. `limit`: the maximum number of users. Raises `Problem`.
    """
    text, encoding = _decoded(body, charset)
    try:
        records = [*read_records(text, frozenset(FIELDS))]
    except CsvError as error:
        detail = f"invalid CSV: line {error.line}: {error}; nothing was sent"
        raise Problem(400, detail, errors=[_fault(None, None, str(error), error.line)]) from None
    columns = _header(records)
    lines = [record.line for record in records[1:]]
    entries = _checked([_cells(columns, record) for record in records[1:]], lines, limit)
    return NewUsers(entries, many=True, lines=lines, encoding=encoding)


def _header(records: list[CsvRecord]) -> list[str]:
    """The columns in the first record. Raises `Problem`."""
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
            yield _fault(None, field, "the header line has this column twice", line)
        elif field not in header and field != "id":
            there = ", ".join(header)[:200]
            yield _fault(None, field, f"the header line lacks this column; it has {there}", line)


def _cells(header: list[str], record: CsvRecord) -> dict[str, str] | str:
    """A record as an object, or the problem. Empty cells beyond the header come from spreadsheets, and are ignored."""
    cells = record.cells
    if len(cells) < len(header) or any(cell.strip() for cell in cells[len(header) :]):
        return f"the line has {len(cells)} cells, the header {len(header)}"
    entry = {field: cell for field, cell in zip(header, cells, strict=False) if field in FIELDS}
    if not entry.get("id", "").strip():
        entry.pop("id", None)
    return entry


def _checked(given: list[Any], lines: Sequence[int] = (), limit: int = MAX_LIST_ENTRIES) -> list[NewUser]:
    """Validate all entries. Raises `Problem` with every fault: index, field, and line in a CSV file."""
    if not given:
        raise Problem(422, "the list is empty; nothing was sent", errors=[_fault(None, None, "the list is empty")])
    if len(given) > limit:
        raise Problem(413, f"the list has {len(given)} users; at most {limit} are allowed in one request")
    entries: list[NewUser] = []
    faults: list[Fault] = []
    for index, entry in enumerate(given):
        try:
            entries.append(_ONE.validate_python(entry))
        except ValidationError as error:
            faults += _faults(index, entry, error)
    faults += _duplicate_ids(entries, lines) if not faults else []
    refuse(faults, len(given), lines)
    return entries


def refuse(faults: list[Fault], total: int, lines: Sequence[int] = ()) -> None:
    """Raises `Problem` 422 if there are faults. `lines`: where the entries of a CSV file start."""
    if not faults:
        return
    for fault in faults:
        if lines and fault["index"] is not None:
            fault["line"] = lines[fault["index"]]
    wrong = len({fault["index"] for fault in faults})
    detail = "the user is invalid" if total == 1 else f"{wrong} of {total} users are invalid"
    where = f", first on line {faults[0]['line']}" if "line" in faults[0] else ""
    more = f" (only the first {MAX_FAULTS} faults are listed)" if len(faults) > MAX_FAULTS else ""
    raise Problem(422, f"{detail}{where}; nothing was sent{more}", errors=faults[:MAX_FAULTS])


def _faults(index: int, entry: Any, error: ValidationError) -> Iterable[Fault]:
    """The faults of one entry, without the input, which may be personal data."""
    if not isinstance(entry, dict):
        message = entry if _is_cell_count(entry) else "not an object with name, email and department"
        return [_fault(index, None, message)]
    return [
        _fault(index, str(e["loc"][0]) if e["loc"] else "again", _words(e)) for e in error.errors(include_url=False)
    ]


def _is_cell_count(entry: Any) -> bool:
    return isinstance(entry, str) and entry.startswith("the line has ")


def _words(error: Any) -> str:
    return _WORDS.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")


_WORDS = {"missing": "is missing", "string_type": "is not a string"}


def _duplicate_ids(entries: list[NewUser], lines: Sequence[int]) -> list[Fault]:
    first: dict[str, int] = {}
    faults = []
    for index, entry in enumerate(entries):
        if entry.id is not None and (other := first.setdefault(entry.id, index)) != index:
            where = f"on line {lines[other]}" if lines else f"of entry {other}"
            faults.append(_fault(index, "id", f"is the same as the id {where}"))
    return faults


def _fault(index: int | None, field: str | None, message: str, line: int | None = None) -> Fault:
    fault: Fault = {"index": index, "field": field, "message": message}
    if line is not None:
        fault["line"] = line
    return fault
