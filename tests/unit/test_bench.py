"""The pure parts of the benchmark: what is computed from what was measured, and what is said of it."""

import math
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import bare, filling, options, run
from benchmarks.context import Context, Rounds
from benchmarks.figures import duel, overhead
from benchmarks.meter import Used
from benchmarks.numbers import at_least, at_most, middle, percentile, ratio, ratios, times_at_least, times_at_most
from benchmarks.options import FIGURES
from benchmarks.progress import Progress
from benchmarks.report import Line, Report, cells, shown
from benchmarks.rivals.chain import AUTHORIZE, CODECS, NEW_USER, NOTIFIED, NOTIFY, Chain
from benchmarks.users import made_up
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.messages import Row, decode


@pytest.mark.parametrize(("percent", "found"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, found: float) -> None:
    assert percentile(range(1, 101), percent) == found


def test_of_nothing_there_is_no_percentile() -> None:
    assert math.isnan(percentile([], 99))


def test_the_worst_of_few_is_their_p99() -> None:
    assert percentile([3, 1, 2], 99) == 3


def test_ratios_are_taken_within_a_round_and_not_between_medians() -> None:
    quiet, busy, odd = (30.0, 10.0), (3.0, 1.0), (10.0, 10.0)
    ours, theirs = zip(quiet, busy, odd, strict=True)
    assert ratios(ours, theirs) == 3.0


def test_a_round_that_failed_has_no_ratio() -> None:
    assert ratio(None, 2.0) is None
    assert ratio(1.0, None) is None
    assert middle([None, 2.0, None]) == 2.0
    assert middle([None]) is None


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
def test_a_goal_is_met_by_what_it_is_about(goal, ours, relative, met) -> None:  # type: ignore[no-untyped-def]
    assert goal.met(ours, relative) is met


def test_the_table_says_what_was_measured_and_whether_it_is_enough() -> None:
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
    ("value", "text"), [(None, "- s"), (math.nan, "- s"), (0.01234, "0.0123 s"), (12.34, "12.3 s"), (1234.5, "1,234 s")]
)
def test_three_digits_are_shown(value: float | None, text: str) -> None:
    assert shown(value, "s") == text.replace("- s", "-")


def test_the_report_is_written_for_programs(tmp_path: Path) -> None:
    report = Report({"runs": 1}, [Line("burst", "sagas/s", 1.0, at_least(2, "sagas/s"))], ["it lost one"])
    report.write(tmp_path / "found.json")
    assert '"goal": "\\u2265 2 sagas/s"' in (tmp_path / "found.json").read_text()
    assert '"met": false' in (tmp_path / "found.json").read_text()


def context(*chosen: str) -> Context:
    quiet = Progress(Console(quiet=True))
    return Context(options.read(chosen), quiet, Report({}))


def test_a_trial_that_fails_counts_as_nothing_and_is_named() -> None:
    on = context("--runs", "2")
    results = iter(({"sagas_per_s": 100.0}, RuntimeError("saga audit: 1 lost")))

    def trial(_more: object) -> dict[str, float]:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    rounds = on.alternate("burst", {"ours": trial})
    assert rounds.of("ours", "sagas_per_s") == [100.0, 0.0]
    assert on.report.failures == ["burst, ours, round 2 of 2: saga audit: 1 lost"]


def test_sides_take_turns() -> None:
    on, turns = context("--runs", "2"), []
    on.alternate("burst", {name: lambda _, name=name: turns.append(name) or {} for name in "ABC"})  # type: ignore[misc]
    assert "".join(turns) == "ABCABC"


def test_each_rival_has_a_line_with_its_own_goal() -> None:
    rounds = Rounds({"ours": [{"n": 30.0}], "aiokafka": [{"n": 10.0}], "other": [{"n": 60.0}]})
    goals = {"aiokafka": times_at_least(1.5), "other": None}
    first, second = duel.lines(rounds, "burst", "n", "sagas/s", goals)
    assert (first.ratio, first.met) == (3.0, True)
    assert (second.ratio, second.met) == (0.5, None)


@pytest.mark.parametrize("least", [0.8, 0.05])
@pytest.mark.parametrize(("share", "slow"), [(0.99, True), (1.0, False), (None, True), (0.0, True)])
def test_the_short_run_fails_only_when_we_are_too_slow(least: float, share: float | None, slow: bool) -> None:
    on = context("--short", "--least", str(least))
    relative = None if share is None else share * least
    on.add(Line("burst", "sagas/s", 1.0, times_at_least(1.5), duel.AIOKAFKA, 1.0, relative))
    assert run.too_slow(on) is slow


def test_every_figure_can_be_chosen_and_is_measured() -> None:
    assert {*duel.LINES, *run.ALONE} == set(FIGURES)
    assert options.read(["--only", "latency,start"]).only == ("latency", "start")


@pytest.mark.parametrize(
    "arguments", [["--only", "brust"], ["--runs", "0"], ["--sagas", "-1"], ["--inflight-lag", "x"]]
)
def test_what_makes_no_sense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        options.read(arguments)
    assert end.value.code == 2
    assert "error" in capsys.readouterr().err


def test_processor_seconds_are_those_since() -> None:
    before, after = Used({"a": 1.0, "b": 5.0}, {"a": 1, "b": 2}), Used({"a": 3.0, "b": 6.0}, {"a": 10, "b": 20})
    assert after.cpu_since(before, ["a", "b"]) == 3.0
    assert after.memory_of(["b"]) == 20


@pytest.mark.parametrize("json", CODECS)
def test_a_rival_brings_a_saga_to_its_end(json: str) -> None:
    chain = Chain(CODECS[json])
    user = made_up(1, "rival")[0]
    row, request = chain.handlers("provisioner")[NEW_USER](user.id, user.value)
    assert row[0] == ROWS_CHANGELOG
    assert b'"state":"running"' in row[1]
    assert request[0] == AUTHORIZE
    [granted] = chain.handlers("authorizer")[AUTHORIZE](user.id, request[1])
    assert granted[0] == NOTIFY
    [told] = chain.handlers("notifier")[NOTIFY](user.id, granted[1])
    assert told[0] == NOTIFIED
    [(topic, end)] = chain.handlers("provisioner")[NOTIFIED](user.id, told[1])
    assert topic == ROWS_CHANGELOG
    assert b'"state":"completed"' in end
    assert chain.rows == {user.id: end}


def test_made_up_users_are_the_same_each_time_and_all_different() -> None:
    users = made_up(100, "some")
    assert users == made_up(100, "some")
    assert len({user.id for user in users}) == 100


def test_rows_that_fill_a_table_are_rows_of_ours() -> None:
    ids = [filling.ID.format(number).encode() for number in (0, 1, 999_999)]
    for id, made in zip(ids, filling.rows(ids), strict=True):
        row = decode(Row, made.value)
        assert row.id.encode() == id == made.id
        assert row.state == "completed"


def test_the_lag_drawn_lies_between_that_of_three_quick_and_three_slow_steps() -> None:
    drawn = [overhead.drawn(f"user-{number}") for number in range(100)]
    assert 1.5 <= min(drawn) < max(drawn) <= 6.0
    assert drawn[0] == overhead.drawn("user-0")


async def test_without_kafka_a_saga_goes_from_step_to_step_until_it_has_completed() -> None:
    loops, records = bare.services(), bare.first(made_up(3, "bare"))
    for loop in loops.values():
        records = await bare.handle(loop, records)
    rows = loops["new-user"].rows
    assert rows is not None
    assert [decode(Row, value).state for value in rows.table.rows.values()] == ["completed"] * 3
