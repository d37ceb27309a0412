"""The table of field faults: inputs that failed in production, and what happens to them now.

A test that covers a row is marked `@pytest.mark.field(7)` (several numbers if it covers several rows). It may report
what it observed with the `now` fixture: `now("422: the name shows nothing")`. `make field` runs only these tests
and prints one line a row; a row whose tests report nothing shows how many tests hold it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

#: The input of each row, in short.
ROWS: dict[int, str] = {
    1: "records compressed with zstd, lz4, snappy or gzip",
    2: "a record timestamp in the year 57742",
    3: "record timestamps two days ahead, two hours ahead, -1",
    4: "invalid and valid traceparent and tracestate",
    5: "content-type of messages; a structured-mode CloudEvent",
    6: "escape sequences in signals, reasons and addresses",
    7: "names of invisible characters",
    8: "addresses that no mail server takes",
    9: "an international domain, a server without SMTPUTF8",
    10: "names outside ASCII in a mail's subject",
    11: "a mail server that defers for minutes (greylisting)",
    12: "search and sort with accents, case and normal forms",
    13: "a CSV file in Windows-1252 with semicolons",
    14: "a CSV file in UTF-16, with tabs, with sep=",
    15: "the line of an error in a CSV file",
    16: "an Idempotency-Key used for another body",
    17: "the same CSV file sent twice",
    18: "an answer that got lost on its way",
    19: "seven tabs of the page",
    20: "times in another zone and of another day",
    21: "a data directory that cannot be used",
    22: "a terminal that is not UTF-8",
    23: "the log level",
    24: "lag and delay while the broker is frozen",
    25: "bound to ::1 or 127.0.0.2; a host name that does not resolve",
    26: "behind a reverse proxy",
    27: "reading from another network",
    28: "the id of a saga that was rolled back",
    29: "another cluster under the same address",
    30: "a topic that grew from 12 to 24 partitions",
    31: "topics that cannot be created or written",
    32: "outputs and records that are too large",
    33: "an advertised listener that does not resolve",
    34: "a topic deleted and recreated; requests lost to retention",
    35: "aborted transactions",
    36: "the broker's clock five minutes off",
    37: "NUL and other odd characters in a query",
    38: "a query of 9,000 characters",
    39: "parked sagas in the count of overtaking",
    40: "only parked sagas on the Live tab",
    41: "narrow windows",
    42: "axe-core on every tab",
    43: "redrive by keyboard; redrive all",
    44: "records far from the times of their row",
    45: "HEAD requests and large answers",
    46: "saga audit beside make run",
    47: "the command line at 80 columns, wrong values",
}


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "field(*rows): covers these rows of the table of field faults")


@pytest.fixture
def now(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Report what was observed, in a few words, for the table."""

    def report(text: str) -> None:
        request.node.user_properties.append(("now", text))

    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Rows travel with the report, also from another process."""
    for marker in item.iter_markers("field"):
        if not marker.args or set(marker.args) - set(ROWS):
            raise pytest.UsageError(f"{item.nodeid}: field takes row numbers from 1 to {max(ROWS)}")
        item.user_properties += [("row", number) for number in marker.args]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """With `-m field` the table; else one line, if any row was covered."""
    rows = _collected(terminalreporter.stats)
    if not rows:
        return
    held = sum(1 for results in rows.values() if all(outcome == "passed" for outcome, _ in results))
    if config.option.markexpr == "field":
        terminalreporter.section("field faults")
        for line in _lines(rows):
            terminalreporter.write_line(line)
    terminalreporter.write_line(f"field faults: {held} of {len(ROWS)} rows hold")


def _collected(stats: dict[str, list[Any]]) -> dict[int, list[tuple[str, list[str]]]]:
    """By row: the outcome of each of its tests, and what it reported."""
    rows: defaultdict[int, list[tuple[str, list[str]]]] = defaultdict(list)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, []):
            properties = getattr(report, "user_properties", [])
            said = [text for name, text in properties if name == "now"]
            for name, number in properties:
                if name == "row":
                    rows[number].append((outcome, said))
    return dict(rows)


def _lines(rows: dict[int, list[tuple[str, list[str]]]]) -> Iterator[str]:
    for number, given in ROWS.items():
        results = rows.get(number, [])
        yield f"{number:>3} {_verdict(results):<9} {given}: {_observed(results)}"


def _verdict(results: list[tuple[str, list[str]]]) -> str:
    if not results:
        return "not run"
    bad = [outcome for outcome, _ in results if outcome != "passed"]
    return bad[0] if bad else "holds"


def _observed(results: list[tuple[str, list[str]]]) -> str:
    said = list(dict.fromkeys(text for _, texts in results for text in texts))
    tests = f"{len(results)} test{'' if len(results) == 1 else 's'}"
    return f"{'; '.join(said)} ({tests})" if said else tests
