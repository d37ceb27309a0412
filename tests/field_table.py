"""A pytest plugin for the table of field faults: inputs that failed in production, and how they are handled now.

A test that covers a row has the marker `@pytest.mark.field(7)`; several numbers cover several rows. It can report what
it observed with the fixture `now`: `now("422: the name shows nothing")`. `make field` runs only these tests and prints
a line for each row, with these reports and the number of tests.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

#: By row: the outcome of each of its tests, and the texts that it reported.
Results = dict[int, list[tuple[str, list[str]]]]

#: The input of each row.
ROWS: dict[int, str] = {
    1: "records compressed with zstd, lz4, snappy or gzip",
    2: "a record timestamp in the year 57742",
    3: "record timestamps two days ahead, two hours ahead, -1",
    4: "invalid and valid traceparent and tracestate",
    5: "content-type of messages; CloudEvents in structured mode",
    6: "escape sequences in signals, reasons and addresses",
    7: "names without visible characters",
    8: "addresses that no mail server accepts",
    9: "an international domain, a server without SMTPUTF8",
    10: "names outside ASCII in a mail's subject",
    11: "a mail server that defers for minutes (greylisting)",
    12: "search and sort with accents, case and normal forms",
    13: "a CSV file in Windows-1252 with semicolons",
    14: "a CSV file in UTF-16, with tabs, with sep=",
    15: "the line number of an error in a CSV file",
    16: "an Idempotency-Key reused for another body",
    17: "the same CSV file sent twice",
    18: "a lost response",
    19: "the page in seven browser tabs",
    20: "times in another zone and of another day",
    21: "a data directory that cannot be used",
    22: "a terminal that is not UTF-8",
    23: "the setting of the log level",
    24: "consumer lag and delay while the broker is frozen",
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
    36: "a broker whose clock is five minutes wrong",
    37: "NUL and other unusual characters in a query",
    38: "a query of 9,000 characters",
    39: "parked sagas in the count of overtaken sagas",
    40: "only parked sagas on the Live tab",
    41: "the page in narrow windows",
    42: "axe-core on every tab",
    43: "redrive by keyboard; redrive all",
    44: "records with times far from those of their row",
    45: "HEAD requests and large responses",
    46: "saga audit beside make run",
    47: "the command line at 80 columns and with invalid values",
}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "field(*rows): covers these rows of the table of field faults")


@pytest.fixture
def now(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Returns a function that adds a short text to the row of the test."""

    def report(text: str) -> None:
        request.node.user_properties.append(("now", text))

    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Attach the row numbers to the test report, which pytest-xdist sends to the main process."""
    for marker in item.iter_markers("field"):
        if not marker.args or set(marker.args) - set(ROWS):
            raise pytest.UsageError(f"{item.nodeid}: field needs row numbers from 1 to {max(ROWS)}")
        item.user_properties += [("row", number) for number in marker.args]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table with `-m field`, otherwise a line with the count."""
    results = _collect_results(terminalreporter.stats)
    if not results:
        return
    held = sum(1 for tests in results.values() if all(outcome == "passed" for outcome, _ in tests))
    if config.option.markexpr == "field":
        terminalreporter.section("field faults")
        for line in _table_lines(results):
            terminalreporter.write_line(line)
    terminalreporter.write_line(f"field faults: {held} of {len(ROWS)} rows hold")


def _collect_results(stats: dict[str, list[Any]]) -> Results:
    """Collect the results from pytest's reports, which are grouped by outcome."""
    results: defaultdict[int, list[tuple[str, list[str]]]] = defaultdict(list)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, []):
            properties = getattr(report, "user_properties", [])
            texts = [text for name, text in properties if name == "now"]
            for name, number in properties:
                if name == "row":
                    results[number].append((outcome, texts))
    return dict(results)


def _table_lines(results: Results) -> Iterator[str]:
    for number, title in ROWS.items():
        tests = results.get(number, [])
        yield f"{number:>3} {_verdict(tests):<9} {title}: {_summary(tests)}"


def _verdict(tests: list[tuple[str, list[str]]]) -> str:
    if not tests:
        return "not run"
    bad = [outcome for outcome, _ in tests if outcome != "passed"]
    return bad[0] if bad else "holds"


def _summary(tests: list[tuple[str, list[str]]]) -> str:
    texts = list(dict.fromkeys(text for _, reported in tests for text in reported))
    count = f"{len(tests)} test{'' if len(tests) == 1 else 's'}"
    return f"{'; '.join(texts)} ({count})" if texts else count
