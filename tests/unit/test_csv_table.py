"""CSV files of spreadsheets: delimiters, `sep=` hints, quotes, line ends, and the line number of each record."""

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.web.csv_table import CsvError, CsvRecord, read_records
from saga_app.web.new_users import from_csv
from saga_app.web.problem import Problem

COLUMNS = frozenset(["name", "email", "department", "id"])


def records(text: str) -> list[tuple[int, list[str]]]:
    """The records of a CSV file: the line number and the cells of each, without blank ones."""
    return [(line, cells) for line, cells in read_records(text, COLUMNS)]


@pytest.mark.field(14)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_detected_from_the_column_names(delimiter: str) -> None:
    text = delimiter.join(["name", '"e, g; remark"', "email", "department"]) + "\n" + delimiter.join("abcd")
    assert records(text)[1] == (2, list("abcd"))


@pytest.mark.field(14)
@pytest.mark.parametrize(
    "hint",
    ["sep=;", "SEP=;", "Sep=; ", '"sep=;"', "sep=;\r", " sep=;", "sep=,", "sep=\t", "sep=|", "sep=^", '"sep=\t"'],
)
def test_excels_sep_hint_sets_the_delimiter_and_counts_as_a_line(hint: str) -> None:
    delimiter = hint.strip(' "\r')[4:] or "\t"
    text = f"{hint}\nname{delimiter}email\nAda{delimiter}a@b\n"
    assert records(text) == [(2, ["name", "email"]), (3, ["Ada", "a@b"])]


@pytest.mark.field(15)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_record_has_the_number_of_its_first_line(end: str, now: Callable[[str], None]) -> None:
    lines = ["", "name,email", "", '"Ada', 'Lovelace",a@b', " , ", "Bob,b@c", '"x', "", 'y","z', '"', "Cem,c@d"]
    found = records(end.join([*lines[:10], '"', lines[11]]))
    assert [line for line, _ in found] == [2, 4, 7, 8, 12]
    now(f"records at lines {[line for line, _ in found]}")


@pytest.mark.field(15)
@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('name,email\n\n"Ada,a@b\nBob,b@c\n', 3, "not closed"),
        ('sep=;\nname;email\nAda;"a@b', 3, "not closed"),
        ('name,email\nAda,a@b\n"Bob"x,b@c\n', 3, "closing quote"),
        ('name,email\n"' + "x" * 200_000 + '",b\n', 2, "field larger"),
    ],
)
def test_an_invalid_quote_is_reported_with_the_line_of_its_record(text: str, line: int, reason: str) -> None:
    with pytest.raises(CsvError, match=reason) as error:
        records(text)
    assert error.value.line == line


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=4, max_size=4)))
def test_the_output_of_pythons_csv_writer_is_read_unchanged(rows: list[list[str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([["name", "email", "department", "id"], *rows])
    read = records(written.getvalue())
    assert [cells for _, cells in read[1:]] == [row for row in rows if any(cell.strip() for cell in row)]
    assert all(CsvRecord(*record).line >= 1 for record in read)


#: Exports of several programs, each with one user.
FILES = {
    "semicolons": b"Name; EMAIL ;Department\r\nAda;ada@example.com;Sales\r\n",
    "byte order mark and hint": b"\xef\xbb\xbfsep=;\r\nname;email;department\r\nAda;ada@example.com;Sales\r\n",
    "Unicode text": "\ufeffname\temail\tdepartment\r\nAda\tada@example.com\tSales\r\n".encode("utf-16-le"),
    "pipes": b"name|email|department|phone\nAda|ada@example.com|Sales|1",
    "CR line ends": b"name,email,department\rAda,ada@example.com,Sales\r",
    "trailing empty cells": b"name,email,department\nAda,ada@example.com,Sales,,\n,,,\n",
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbfname,email,department\nAda,ada@example.com,Sales\n",
}


@pytest.mark.field(14)
@pytest.mark.parametrize("name", FILES)
def test_the_export_of_a_spreadsheet_is_read(name: str, now: Callable[[str], None]) -> None:
    users = from_csv(FILES[name])
    assert [entry.user.name for entry in users.entries] == ["Ada"]
    now(f"{name}: {users.encoding}, {len(users.entries)} user")


@pytest.mark.field(13, 15)
@pytest.mark.parametrize(
    ("body", "status", "line", "field"),
    [
        (
            "name,email,department\n\nAda,ada@example.com,Sales\nJ\ufffdrgen,j@b.example,Sales\n".encode(),
            422,
            4,
            "name",
        ),
        (b"name,email,department\nA\x00da,ada@example.com,Sales\n", 422, 2, "name"),
        (b"\n\nname,mail,department\n", 422, 3, "email"),
        (b"name,email,department,Name\n", 422, 1, "name"),
        (b'name,email,department\n"Ada\nL",no address,Sales\n', 422, 2, "email"),
        (b"name,email,department\n\nAda,ada@example.com\n", 422, 3, None),
        (b"name,email,department\nAda,ada@example.com,Sales,more\n", 422, 2, None),
        (b"name,email,department,id\nA,a@example.com,S,x\n\nB,b@example.com,S,x\n", 422, 4, "id"),
        (b'name,email,department\n"Ada,ada@example.com,Sales\n', 400, 2, None),
    ],
)
def test_an_error_is_reported_with_its_line_and_field(body: bytes, status: int, line: int, field: str | None) -> None:
    with pytest.raises(Problem) as error:
        from_csv(body)
    faults = {(fault.get("line"), fault["field"]) for fault in error.value.errors}
    assert (error.value.status, (line, field) in faults) == (status, True)
    assert f"line {line}" in error.value.detail
    assert "nothing was sent" in error.value.detail
