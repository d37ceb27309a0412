"""CSV as spreadsheets and programs write it: records with the lines of the file at which they start."""

import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

#: What may stand between two cells; the first of those that fit the header line best.
DELIMITERS = ",;\t|"

#: Enough of a file to find its header line in.
HEADER_CHARACTERS = 65_536

#: Excel's own hint in the first line, which names the delimiter: sep=;
_HINT = re.compile(r'(?i)[ \t]*"?sep=([^"\w\s]|\t)"?[ \t]*(?:\r\n|\r|\n|\Z)')


class CsvError(ValueError):
    """Text that is no CSV; `line` is the line (from 1) at which the record in question starts."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Record(NamedTuple):
    """The cells of a record, and the line (from 1) at which it starts: a quoted cell may go over several."""

    line: int
    cells: list[str]


def read_records(text: str, columns: frozenset[str]) -> Iterator[Record]:
    """All records that are not blank, the header first.

    The delimiter is the one of an Excel hint (sep=;), or else the one with which the header has most of the columns.
    Raises `CsvError`.
    """
    hint = _HINT.match(text)
    body, before = (text[hint.end() :], 1) if hint else (text, 0)
    delimiter = hint[1] if hint else max(DELIMITERS, key=lambda each: _fit(body, each, columns))
    return _records(body, delimiter, before)


def column_names(cells: list[str]) -> list[str]:
    """The names in a header, without surrounding spaces, in small letters."""
    return [cell.strip().strip("\ufeff").lower() for cell in cells]


def _fit(text: str, delimiter: str, columns: frozenset[str]) -> tuple[int, int]:
    """How many of the columns, and how many cells at all, the header has with this delimiter."""
    try:
        header = next(_records(text[:HEADER_CHARACTERS], delimiter), Record(1, []))
    except CsvError:
        return 0, 0
    return len(columns & {*column_names(header.cells)}), len(header.cells)


def _records(text: str, delimiter: str, before: int = 0) -> Iterator[Record]:
    """`before` is the number of lines before the text."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    line = before + 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Record(line, cells)
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise CsvError(line, _explained(str(error), delimiter)) from None


def _explained(problem: str, delimiter: str) -> str:
    if problem == "unexpected end of data":
        return "a quote is opened here and never closed"
    if "expected after" in problem:
        return f"a closing quote is followed by something else than {delimiter!r}; a quote within a cell is doubled"
    return problem
