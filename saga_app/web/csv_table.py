"""Reads CSV as written by spreadsheets and programs, and keeps the line number of each record."""

import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

#: The supported delimiters, in order of preference when several fit the header line equally well.
DELIMITERS = ",;\t|"

#: How much of a file is searched for the header line (characters).
HEADER_CHARACTERS = 65_536

#: A first line like `sep=;`, with which Excel declares the delimiter.
_HINT = re.compile(r'(?i)[ \t]*"?sep=([^"\w\s]|\t)"?[ \t]*(?:\r\n|\r|\n|\Z)')


class CsvError(ValueError):
    """The text is not valid CSV; `line` is the line (from 1) at which the invalid record starts."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class CsvRecord(NamedTuple):
    """The cells of a record, and the line (from 1) at which it starts. A quoted cell may span several lines."""

    line: int
    cells: list[str]


def read_records(text: str, columns: frozenset[str]) -> Iterator[CsvRecord]:
    """Iterate over all records that are not blank, the header first.

    `columns`: the expected column names. The delimiter is declared by a first line `sep=;`, or is the one with which
    the header has most of the expected columns. Raises `CsvError`.
    """
    hint = _HINT.match(text)
    body, before = (text[hint.end() :], 1) if hint else (text, 0)
    delimiter = hint[1] if hint else max(DELIMITERS, key=lambda each: _fit(body, each, columns))
    return _records(body, delimiter, before)


def column_names(cells: list[str]) -> list[str]:
    """The column names of a header: stripped, in lower case."""
    return [cell.strip().strip("\ufeff").lower() for cell in cells]


def _fit(text: str, delimiter: str, columns: frozenset[str]) -> tuple[int, int]:
    """How many expected columns, and how many cells in total, the header has with this delimiter."""
    try:
        header = next(_records(text[:HEADER_CHARACTERS], delimiter), CsvRecord(1, []))
    except CsvError:
        return 0, 0
    return len(columns & {*column_names(header.cells)}), len(header.cells)


def _records(text: str, delimiter: str, before: int = 0) -> Iterator[CsvRecord]:
    """Parse the records; `before` is the number of lines that precede the text in the file."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    line = before + 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield CsvRecord(line, cells)
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise CsvError(line, _explained(str(error), delimiter)) from None


def _explained(problem: str, delimiter: str) -> str:
    if problem == "unexpected end of data":
        return "a quote is opened but not closed"
    if "expected after" in problem:
        return f"a closing quote must be followed by {delimiter!r}; double a quote within a cell"
    return problem
