"""The parts of the benchmark that need no broker: statistics, goals, the report, options and rounds."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import completed_rows, in_memory_services, options, profile, run
from benchmarks.context import Context, Rounds
from benchmarks.figures import against, burst_cpu_latency, overhead
from benchmarks.goal import Goal, at_least, at_most, times_at_least, times_at_most
from benchmarks.options import AGAINST, FIGURES
from benchmarks.process_usage import Usage
from benchmarks.progress import Progress
from benchmarks.report import Line, Report, cells, formatted
from benchmarks.rivals.chain import AUTHORIZE, CODECS, NEW_USER, NOTIFIED, NOTIFY, Chain
from benchmarks.statistics import median_of_known, median_ratio, percentile, ratio
from benchmarks.users import sample_users
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.codec import decode
from saga_app.saga.messages import Row


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert percentile(range(1, 101), percent) == expected


def test_the_percentile_of_no_values_is_nan() -> None:
    assert math.isnan(percentile([], 99))


def test_the_p99_of_few_values_is_their_maximum() -> None:
    assert percentile([3, 1, 2], 99) == 3


def test_ratios_are_computed_within_rounds_before_the_median() -> None:
    quiet, busy, odd = (30.0, 10.0), (3.0, 1.0), (10.0, 10.0)
    ours, theirs = zip(quiet, busy, odd, strict=True)
    assert median_ratio(ours, theirs) == 3.0


def test_missing_values_have_no_ratio_and_are_left_out_of_the_median() -> None:
    assert ratio(None, 2.0) is None
    assert ratio(1.0, None) is None
    assert median_of_known([None, 2.0, None]) == 2.0
    assert median_of_known([None]) is None


@pytest.mark.parametrize(
    ("goal", "ours", "relative", "met"),
    [
        (times_at_least(1.5), 1.0, 1.5, True),
        (times_at_least(1.5), 100.0, 1.49, False),
        (times_at_most(0.8), 1.0, 0.9, False),
        (at_least(2000), 2000.0, None, True),
        (at_most(0), 0.0, None, True),
        (at_most(150), math.nan, None, False),
        (at_most(150), None, None, False),
    ],
)
def test_a_goal_is_compared_with_our_value_or_with_the_ratio(
    goal: Goal, ours: float | None, relative: float | None, met: bool
) -> None:
    assert goal.is_met(ours, relative) is met


def test_a_table_line_has_values_ratio_goal_and_result() -> None:
    line = Line("burst", "sagas/s", 15000.4, times_at_least(1.5), "aiokafka", 10000.0, 1.5)
    assert cells(line) == (
        "burst",
        "15,000 sagas/s",
        "aiokafka",
        "10,000 sagas/s",
        "1.50 ×",
        "≥ 1.5 ×",
        "[green]yes[/]",
    )


def test_a_figure_without_a_goal_is_neither_met_nor_missed() -> None:
    line = Line("memory", "MiB", 300.0)
    assert line.met is None
    assert cells(line)[-1] == ""


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (math.nan, "-"), (0.01234, "0.0123 s"), (12.34, "12.3 s"), (1234.5, "1,234 s")]
)
def test_values_are_shown_with_three_significant_digits(value: float | None, text: str) -> None:
    assert formatted(value, "s") == text


def test_the_report_is_written_as_json(tmp_path: Path) -> None:
    report = Report({"runs": 1}, [Line("burst", "sagas/s", 1.0, at_least(2, "sagas/s"))], ["1 saga lost"])
    report.write(tmp_path / "report.json")
    [line] = json.loads((tmp_path / "report.json").read_text())["lines"]
    assert (line["goal"], line["met"]) == ("≥ 2 sagas/s", False)


def context_with(*arguments: str) -> Context:
    """The context of a run with these options, without output."""
    return Context(options.read(arguments), Progress(Console(quiet=True)), Report({}))


def test_a_failed_trial_counts_as_zero_and_is_reported() -> None:
    context = context_with("--runs", "2")
    results = iter(({"sagas_per_s": 100.0}, RuntimeError("saga audit: 1 lost")))

    def trial(_update: object) -> dict[str, float]:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    rounds = context.alternate("burst", {"ours": trial})
    assert rounds.of("ours", "sagas_per_s") == [100.0, 0.0]
    assert context.report.failures == ["burst, ours, round 2 of 2: saga audit: 1 lost"]


def test_implementations_alternate_in_each_round() -> None:
    order: list[str] = []

    def trial_of(name: str) -> Callable[[object], dict[str, float]]:
        def trial(_update: object) -> dict[str, float]:
            order.append(name)
            return {}

        return trial

    context_with("--runs", "2").alternate("burst", {name: trial_of(name) for name in "ABC"})
    assert "".join(order) == "ABCABC"


def test_each_rival_has_a_line_with_its_own_goal() -> None:
    rounds = Rounds({"ours": [{"n": 30.0}], "aiokafka": [{"n": 10.0}], "other": [{"n": 60.0}]})
    goals = {"aiokafka": times_at_least(1.5), "other": None}
    first, second = burst_cpu_latency.lines(rounds, "burst", "n", "sagas/s", goals)
    assert (first.ratio, first.met) == (3.0, True)
    assert (second.ratio, second.met) == (0.5, None)


@pytest.mark.parametrize("least", [0.8, 0.05])
@pytest.mark.parametrize(("share", "slow"), [(0.99, True), (1.0, False), (None, True), (0.0, True)])
def test_the_short_run_fails_only_below_the_lowest_ratio(least: float, share: float | None, slow: bool) -> None:
    context = context_with("--short", "--least", str(least))
    relative = None if share is None else share * least
    context.add(Line("burst", "sagas/s", 1.0, times_at_least(1.5), burst_cpu_latency.AIOKAFKA, 1.0, relative))
    assert run.is_too_slow(context) is slow


def test_every_figure_can_be_selected_and_is_measured() -> None:
    assert {*burst_cpu_latency.LINES, *run.SEPARATE_FIGURES} == {*FIGURES, AGAINST}
    assert options.read(["--only", "latency,start"]).only == ("latency", "start")


@pytest.mark.parametrize(
    "arguments",
    [["--only", "brust"], ["--runs", "0"], ["--sagas", "-1"], ["--inflight-lag", "x"], ["--against", "no-such-commit"]],
)
def test_invalid_options_are_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        options.read(arguments)
    assert exit.value.code == 2
    assert "error" in capsys.readouterr().err


@pytest.mark.parametrize(("more", "figures"), [([], (AGAINST,)), (["--only", "cpu"], ("cpu", AGAINST))])
def test_a_commit_to_compare_with_is_measured_alone(more: list[str], figures: tuple[str, ...]) -> None:
    assert options.read(["--against", "HEAD", *more]).only == figures


def test_both_commits_are_shown_with_their_ratio() -> None:
    rounds = Rounds({"ours": [{"broker_cpu_ms": 1.0}], "f735be3": [{"broker_cpu_ms": 4.0}]})
    [line] = against.lines(rounds, "f735be3", [line for line in against.BURST_LINES if line[1] == "broker_cpu_ms"])
    assert (line.rival, line.ratio, line.met) == ("f735be3", 0.25, True)


def test_cpu_time_is_counted_since_an_earlier_measurement() -> None:
    before, after = Usage({"a": 1.0, "b": 5.0}, {"a": 1, "b": 2}), Usage({"a": 3.0, "b": 6.0}, {"a": 10, "b": 20})
    assert after.cpu_since(before, ["a", "b"]) == 3.0
    assert after.memory_of(["b"]) == 20


@pytest.mark.parametrize("codec", CODECS)
def test_the_hand_written_chain_completes_a_saga(codec: str) -> None:
    chain = Chain(CODECS[codec])
    user = sample_users(1, "rival")[0]
    row, authorize_request = chain.handlers("provisioner")[NEW_USER](user.id, user.value)
    assert row[0] == ROWS_CHANGELOG
    assert b'"state":"running"' in row[1]
    assert authorize_request[0] == AUTHORIZE
    [notify_request] = chain.handlers("authorizer")[AUTHORIZE](user.id, authorize_request[1])
    assert notify_request[0] == NOTIFY
    [notified] = chain.handlers("notifier")[NOTIFY](user.id, notify_request[1])
    assert notified[0] == NOTIFIED
    [(topic, final_row)] = chain.handlers("provisioner")[NOTIFIED](user.id, notified[1])
    assert topic == ROWS_CHANGELOG
    assert b'"state":"completed"' in final_row
    assert chain.rows == {user.id: final_row}


def test_sample_users_are_reproducible_and_distinct() -> None:
    users = sample_users(100, "some")
    assert users == sample_users(100, "some")
    assert len({user.id for user in users}) == 100


def test_rows_that_fill_a_table_are_valid_saga_rows() -> None:
    ids = [completed_rows.ID_FORMAT.format(number).encode() for number in (0, 1, 999_999)]
    for id, record in zip(ids, completed_rows.encoded_rows(ids), strict=True):
        row = decode(Row, record.value)
        assert row.id.encode() == id == record.id
        assert row.state == "completed"


def test_the_injected_lag_is_that_of_three_steps_and_reproducible() -> None:
    lags_s = [overhead.injected_lag_s(f"user-{number}") for number in range(100)]
    assert 1.5 <= min(lags_s) < max(lags_s) <= 6.0
    assert lags_s[0] == overhead.injected_lag_s("user-0")


async def test_sagas_complete_in_the_services_without_kafka() -> None:
    loops, records = in_memory_services.step_loops(), in_memory_services.first_records(sample_users(3, "bare"))
    for loop in loops.values():
        records = await in_memory_services.handle(loop, records)
    rows = loops["new-user"].kept
    assert isinstance(rows.table, in_memory_services.Table)
    assert [decode(Row, value).state for value in rows.table.rows.values()] == ["completed"] * 3


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("libpython3.11.so.1.0", "Python interpreter"),
        ("_core.cpython-311-x86_64-linux-gnu.so", "msgspec"),
        ("librdkafka-0cb94173.so.1", "librdkafka"),
        ("[kernel.kallsyms]", "kernel"),
        ("rocksdict.cpython-311-x86_64-linux-gnu.so", "RocksDB"),
    ],
)
def test_a_profile_names_libraries_for_readers(file: str, name: str) -> None:
    shares = profile.REPORT_LINE.findall(f"# Overhead  Shared Object\n    47.72%  {file}      \n")
    assert [(share, profile.library_of(file)) for share, file in shares] == [("47.72", name)]
