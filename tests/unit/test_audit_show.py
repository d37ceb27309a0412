"""What `saga audit` prints, and how it ends."""

import json
import re

import pytest

from devtools.system import saga
from devtools.wait import free_port
from saga_app.audit import Finding, Report
from saga_app.audit.show import TITLES, Progress, show
from tests.unit.audit_topics import completed
from tests.unit.test_layers import ROOT


def report(count: int) -> Report:
    """With so many findings of a kind, and another."""
    findings = [
        Finding("never-ended", f"u{n}", "it \x1b[31mwaits", ("notify[0]@1", "notify[0]@2")) for n in range(count)
    ]
    return Report(9, 1234, [*findings, Finding("two-devices", "ada", "A and B")], {"mails_again": 2}, ["notify: gone"])


def test_findings_are_shown_by_kind_with_examples_and_the_sum_is_last(capsys: pytest.CaptureFixture[str]) -> None:
    show(report(7), 2, as_json=False)
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


def test_json_has_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    show(report(7), 2, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown.keys() == {"sagas", "records", "findings", "counts", "left_out"}
    assert len(shown["findings"]) == 8
    assert shown["findings"][-1] == {"kind": "two-devices", "saga": "ada", "sentence": "A and B", "proof": []}


def test_when_everything_adds_up_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show(completed().audit(), 5, as_json=False)
    assert capsys.readouterr().out == "no inconsistencies: 1 sagas in 7 records (1 completed, 1 mails)\n"


def test_a_long_run_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.printed_at -= 11
        tell = progress.of("reading", 5000)
        tell(1000)
        tell(2000)
    assert re.fullmatch(r"reading: 1,000 of 5,000, [\d,]+ per second\n", capsys.readouterr().err)


def test_every_kind_of_finding_has_a_title_and_is_explained_in_the_handbook() -> None:
    source = "".join(path.read_text() for path in (ROOT / "saga_app/audit").glob("*.py"))
    kinds = {*re.findall(r'finding\("([a-z-]+)"', source), *re.findall(r'Finding\("([a-z-]+)"', source)}
    kinds |= set(re.findall(r'^KIND = "([a-z-]+)"', source, re.MULTILINE))
    assert kinds == TITLES.keys()
    handbook = (ROOT / "docs/reference/audit-findings.md").read_text("utf-8")
    assert all(f"`{kind}`" in handbook for kind in kinds)


def test_without_a_broker_one_line_says_so() -> None:
    done = saga("audit", "--broker", f"kafka://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "no broker answers at 127.0.0.1:" in done.stderr
    assert "--broker" in done.stderr


@pytest.mark.parametrize("options", [["--broker", "localhost:9092"], ["--settle", "-1"], ["--examples", "many"]])
def test_wrong_use_is_exit_code_2(options: list[str]) -> None:
    assert saga("audit", *options).returncode == 2
