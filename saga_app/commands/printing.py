"""Prints sagas, dead letters and settings: as tables, or as JSON with `--json`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from rich.text import Text

from saga_app.active_plan import PLAN
from saga_app.commands.table import escaped_cell, output, print_table
from saga_app.settings import Described
from saga_app.terminal import echo, echo_json

COLOURS = {
    "completed": "green",
    "done": "green",
    "running": "cyan",
    "requested": "cyan",
    "rolling-back": "yellow",
    "denied": "yellow",
    "overdue": "yellow",
    "rolled-back": "magenta",
}

Row = Mapping[str, Any]


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    echo_json(value)


def print_accepted(answer: Row, as_json: bool) -> None:
    """Print the response to new users: how many sagas were started, and how many users already existed."""
    if as_json:
        return print_json(answer)
    existing = answer.get("existing", 0)
    if "id" in answer:
        how = "already exists" if existing else "accepted"
        return echo(f"{answer['id']} {how}; see: saga show {answer['id']}")
    encoding = answer.get("encoding", "utf-8")
    read_as = "" if encoding == "utf-8" else f" (read as {encoding})"
    if existing:
        return echo(
            f"{answer['accepted'] - existing:,} users accepted, {existing:,} already exist{read_as}; see: saga list"
        )
    return echo(f"{answer['accepted']} users accepted{read_as}; see: saga list")


def print_sagas(page: Row, as_json: bool) -> None:
    """Print a page of sagas as a table."""
    if as_json:
        return print_json(page)
    rows = (
        (row["id"], row["user"]["name"], row["user"]["department"], _state(row), row["step"], _seconds(row), row["why"])
        for row in page["items"]
    )
    columns = ("id", "name", "department", "state", "step", "took", "why")
    print_table(columns, rows, whole=("id", "state"), optional=("took", "step", "department", "why"))
    _print_count(page)


def print_saga(row: Row, as_json: bool) -> None:
    """Print one saga with its history."""
    if as_json:
        return print_json(row)
    user = row["user"]
    facts = {
        "id": row["id"],
        "user": f"{user['name']} <{user['email']}>, {user['department']}",
        "state": _state(row),
        "why": row["why"],
        **{_fact_label(name): _as_text(value, ", ") for name, value in row.get("facts", {}).items()},
        "started": row["started_at"],
        "ended": row.get("ended_at"),
        "took": _seconds(row),
    }
    shown = [(Text(name, "bold"), value) for name, value in facts.items() if value]
    print_table((), shown)
    steps = (
        (
            h["step"],
            h["service"],
            str(h["attempts"]),
            h["started_at"],
            h["ended_at"],
            _coloured(h["outcome"]),
            h.get("reason"),
        )
        for h in row["history"]
    )
    columns = ("step", "service", "attempts", "started", "ended", "outcome", "reason")
    print_table(columns, steps, whole=("step", "outcome"), optional=("service", "attempts", "started"))


def print_entry(entry: Row, id: str, as_json: bool) -> None:
    """Print a trace entry in one line."""
    if as_json:
        return print_json({"id": id, **entry})
    where = f"{entry['topic']}/{entry['partition']}@{entry['offset']}"
    what = " ".join(f"{key}={_as_text(value)}" for key, value in _entry_fields(entry))
    attempt = f" (attempt {entry['attempt']})" if (entry.get("attempt") or 1) > 1 else ""
    line = Text.assemble(
        (time_of_day(str(entry["at"]), today=datetime.now(UTC).date()), "dim"),
        f"  {id:<22.22} {entry.get('step') or '':<12}",
        _coloured(f"{entry['kind']:<12}"),
        f" {what}{attempt}",
        (f"  {where}", "dim"),
    )
    output().print(escaped_cell(line), soft_wrap=True)


def time_of_day(at: str, today: date) -> str:
    """An ISO time in UTC for a trace entry: with its Z, and with the date unless that is `today`."""
    day, _, time = at.partition("T")
    return time if day == today.isoformat() else at


def print_errors(page: Row, as_json: bool) -> None:
    """Print a page of dead letters, or of groups of them."""
    if as_json:
        return print_json(page)
    items: Sequence[Row] = page["items"]
    wanted = ("name", "id", "service", "step", "error", "reason", "attempts", "at")
    if items and "count" in items[0]:
        wanted = ("service", "step", "error", "count", "first_at", "last_at", "reason", "example")
    columns = [name for name in wanted if any(name in item for item in items)]
    rows = ([_as_text(item.get(name, "")) for name in columns] for item in items)
    print_table(
        columns, rows, whole=("name", "id", "example"), optional=("attempts", "at", "first_at", "step", "service")
    )
    _print_count(
        {**page, "total": len(items)} if "count" in columns else page
    )  # in a list of groups, the total counts dead letters


def print_letter(letter: Row, as_json: bool) -> None:
    """Print one dead letter: the error and the original record."""
    if as_json:
        return print_json(letter)
    names = ("name", "id", "service", "step", "error", "reason", "attempts", "at", "open", "key")
    facts = {name: letter[name] for name in names if letter[name] is not None}
    if letter.get("original_bytes") is not None:
        facts["truncated to"] = f"{letter['kept_bytes']:,} of {letter['original_bytes']:,} bytes"
    facts |= {f"header {name}": value for name, value in letter["headers"].items()}
    print_table((), [(Text(name, "bold"), _as_text(value)) for name, value in facts.items()])
    if letter["value"] is not None:
        echo(letter["value"])
    else:
        echo(f"base64: {letter['value_base64']}" if letter["value_base64"] is not None else "no value (null)")
    return None


def print_action_result(verb: str, answer: Row, as_json: bool) -> None:
    """Print how many dead letters or sagas an action affects or has affected; what was left out goes to stderr."""
    if as_json:
        return print_json(answer)
    done = {"redrive": "redriven", "rollback": "rolling back"}[verb]
    echo(str(answer["count"]) if answer["dry_run"] else f"{answer['count']} {done}")
    for reason, count in answer.get("left_out", {}).items():
        echo(f"{count} left out: {reason}", err=True)
    return None


def print_settings(settings: Iterable[Described], as_json: bool) -> None:
    """Print all settings."""
    if as_json:
        return print_json([each._asdict() for each in settings])
    rows = ((each.variable, each.value, each.default, f"{each.meaning} [{each.allowed}]") for each in settings)
    print_table(("variable", "value", "default", "meaning"), rows, whole=("variable",), optional=("default",))


def _fact_label(fact: str) -> str:
    """The label of a fact; for a fact of another plan, its name."""
    known = {each.name: each.label for each in PLAN.facts}
    return known.get(fact) or fact.replace("_", " ")


def _print_count(page: Row) -> None:
    shown, total = len(page["items"]), page["total"]
    if shown < total:
        echo(f"{shown} of {total}: use --limit to show more", err=True)
    elif not shown:
        echo("none", err=True)


def _state(row: Row) -> Text:
    overdue = Text(" (overdue)", "yellow") if row.get("overdue") else Text("")
    return _coloured(row["state"]) + overdue


def _coloured(word: str) -> Text:
    return Text(word, COLOURS.get(word.strip(), "red"))


def _entry_fields(entry: Row) -> Iterable[tuple[str, Any]]:
    """The data of a trace entry that are printed: facts, reason and next attempt, without the times of the step."""
    data = dict(entry.get("data") or {})
    facts = data.pop("facts", None) or {}
    for name in ("started_at", "received_at"):
        data.pop(name, None)
    return [(name, value) for name, value in (facts | data).items() if value not in (None, "")]


def _seconds(row: Row) -> str:
    return f"{row['duration']:.2f} s" if row.get("duration") is not None else ""


def _as_text(value: Any, between: str = ",") -> str:
    return between.join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
