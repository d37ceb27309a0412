"""CSV as spreadsheets write it: delimiters, hints, quotes, line ends, and the line at which each record starts."""

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.web.csv_table import CsvError, Record, read_records
from saga_app.web.new_users import from_csv
from saga_app.web.problem import Problem

COLUMNS = frozenset(["name", "email", "department", "id"])


def records(text: str) -> list[tuple[int, list[str]]]:
    return [(line, cells) for line, cells in read_records(text, COLUMNS)]


@pytest.mark.field(14)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_gives_the_columns(delimiter: str) -> None:
    text = delimiter.join(["name", '"e, g; remark"', "email", "department"]) + "\n" + delimiter.join("abcd")
    assert records(text)[1] == (2, list("abcd"))


@pytest.mark.field(14)
@pytest.mark.parametrize(
    "hint",
    ["sep=;", "SEP=;", "Sep=; ", '"sep=;"', "sep=;\r", " sep=;", "sep=,", "sep=\t", "sep=|", "sep=^", '"sep=\t"'],
)
def test_excels_hint_names_the_delimiter_and_is_a_line_of_the_file(hint: str) -> None:
    delimiter = hint.strip(' "\r')[4:] or "\t"
    text = f"{hint}\nname{delimiter}email\nAda{delimiter}a@b\n"
    assert records(text) == [(2, ["name", "email"]), (3, ["Ada", "a@b"])]


@pytest.mark.field(15)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_record_is_at_the_line_where_it_starts(end: str, now: Callable[[str], None]) -> None:
    lines = ["", "name,email", "", '"Ada', 'Lovelace",a@b', " , ", "Bob,b@c", '"x', "", 'y","z', '"', "Cem,c@d"]
    found = records(end.join([*lines[:10], '"', lines[11]]))
    assert [line for line, _ in found] == [2, 4, 7, 8, 12]
    now(f"records at lines {[line for line, _ in found]}")


@pytest.mark.field(15)
@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('name,email\n\n"Ada,a@b\nBob,b@c\n', 3, "not closed"),
        ('sep=;\nname;email\nAda;"a@b', 3, "not closed"),
        ('name,email\nAda,a@b\n"Bob"x,b@c\n', 3, "closing quote"),
        ('name,email\n"' + "x" * 200_000 + '",b\n', 2, "field larger"),
    ],
)
def test_a_quote_that_is_wrong_is_named_by_the_line_of_its_record(text: str, line: int, why: str) -> None:
    with pytest.raises(CsvError, match=why) as refused:
        records(text)
    assert refused.value.line == line


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=4, max_size=4)))
def test_what_a_csv_writer_writes_is_read_as_it_was(rows: list[list[str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([["name", "email", "department", "id"], *rows])
    read = records(written.getvalue())
    assert [cells for _, cells in read[1:]] == [row for row in rows if any(cell.strip() for cell in row)]
    assert all(Record(*record).line >= 1 for record in read)


FILES = {
    "semicolons": b"Name; EMAIL ;Department\r\nAda;ada@example.com;Sales\r\n",
    "hint with a mark": b"\xef\xbb\xbfsep=;\r\nname;email;department\r\nAda;ada@example.com;Sales\r\n",
    "Unicode text": "\ufeffname\temail\tdepartment\r\nAda\tada@example.com\tSales\r\n".encode("utf-16-le"),
    "pipes": b"name|email|department|phone\nAda|ada@example.com|Sales|1",
    "old Mac": b"name,email,department\rAda,ada@example.com,Sales\r",
    "trailing empty cells": b"name,email,department\nAda,ada@example.com,Sales,,\n,,,\n",
    "a second mark": b"\xef\xbb\xbf\xef\xbb\xbfname,email,department\nAda,ada@example.com,Sales\n",
}


@pytest.mark.field(14)
@pytest.mark.parametrize("name", FILES)
def test_a_spreadsheets_export_is_read(name: str, now: Callable[[str], None]) -> None:
    read = from_csv(FILES[name])
    assert [entry.user.name for entry in read.entries] == ["Ada"]
    now(f"{name}: {read.encoding}, {len(read.entries)} user")


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
def test_a_mistake_is_named_by_its_line(body: bytes, status: int, line: int, field: str | None) -> None:
    with pytest.raises(Problem) as refused:
        from_csv(body)
    found = {(fault.get("line"), fault["field"]) for fault in refused.value.errors}
    assert (refused.value.status, (line, field) in found) == (status, True)
    assert f"line {line}" in refused.value.detail
    assert "nothing was sent" in refused.value.detail
