"""The output and the exit codes of `saga audit`."""

import json
import re

import pytest

from devtools.system import saga
from devtools.wait import free_port
from saga_app.audit import Finding, Report
from saga_app.audit.show import TITLES, Progress, show
from tests.unit.audit_topics import completed
from tests.unit.layers import ROOT


def report_with(count: int) -> Report:
    """A report with `count` findings of one kind and one of another."""
    findings = [
        Finding("never-ended", f"u{n}", "it \x1b[31mwaits", ("notify[0]@1", "notify[0]@2")) for n in range(count)
    ]
    return Report(9, 1234, [*findings, Finding("two-devices", "ada", "A and B")], {"mails_again": 2}, ["notify: gone"])


def test_findings_are_grouped_by_kind_and_the_summary_is_last(capsys: pytest.CaptureFixture[str]) -> None:
    show(report_with(7), 2, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "started but not ended: 7",
        "  u0\tit \\x1b[31mwaits\tnotify[0]@1 notify[0]@2",
        "  u1\tit \\x1b[31mwaits\tnotify[0]@1 notify[0]@2",
        "  and 5 more: --examples 7",
        "several devices: 1",
        "  ada\tA and B\t",
        "not checked: notify: gone",
        "8 inconsistencies: 9 sagas in 1,234 records (2 mails again)",
    ]


def test_the_json_output_has_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    show(report_with(7), 2, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown.keys() == {"sagas", "records", "findings", "counts", "left_out"}
    assert len(shown["findings"]) == 8
    assert shown["findings"][-1] == {"kind": "two-devices", "saga": "ada", "sentence": "A and B", "proof": []}


def test_a_report_without_findings_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(completed().audit(), 5, as_json=False)
    assert capsys.readouterr().out == "no inconsistencies: 1 sagas in 7 records (1 completed, 1 mails)\n"


def test_a_long_audit_prints_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.printed_at -= 11
        on_progress = progress.of("reading", 5000)
        on_progress(1000)
        on_progress(2000)
    assert re.fullmatch(r"reading: 1,000 of 5,000, [\d,]+ per second\n", capsys.readouterr().err)


def test_every_kind_of_finding_has_a_title_and_is_documented() -> None:
    source = "".join(path.read_text() for path in (ROOT / "saga_app/audit").glob("*.py"))
    kinds = {*re.findall(r'finding\("([a-z-]+)"', source), *re.findall(r'Finding\("([a-z-]+)"', source)}
    kinds |= set(re.findall(r'^KIND = "([a-z-]+)"', source, re.MULTILINE))
    assert kinds == TITLES.keys()
    reference = (ROOT / "docs/reference/audit-findings.md").read_text("utf-8")
    assert all(f"`{kind}`" in reference for kind in kinds)


def test_a_missing_broker_is_reported_in_one_line() -> None:
    done = saga("audit", "--broker", f"kafka://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "no broker answers at 127.0.0.1:" in done.stderr
    assert "--broker" in done.stderr


@pytest.mark.parametrize("options", [["--broker", "localhost:9092"], ["--settle", "-1"], ["--examples", "many"]])
def test_invalid_options_are_exit_code_2(options: list[str]) -> None:
    assert saga("audit", *options).returncode == 2
