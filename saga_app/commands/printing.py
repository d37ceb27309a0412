"""What the command line shows of sagas, dead letters and settings: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from saga_app.settings import Described

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


def say_json(value: Any) -> None:
    """For programs: characters that the output cannot encode are escaped, so that nothing is lost."""
    readable = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(value, ensure_ascii=not readable))


def say_accepted(answer: Row, as_json: bool) -> None:
    """Which users are on their way."""
    if as_json:
        say_json(answer)
    elif "id" in answer:
        click.echo(f"{answer['id']} is on the way: saga show {answer['id']}")
    else:
        click.echo(f"{answer['accepted']} users are on the way: saga list")


def say_sagas(page: Row, as_json: bool) -> None:
    """A list of sagas."""
    if as_json:
        return say_json(page)
    rows = (
        (row["id"], row["user"]["name"], row["user"]["department"], _state(row), row["step"], _seconds(row), row["why"])
        for row in page["items"]
    )
    _table(("id", "name", "department", "state", "step", "took", "why"), rows)
    _count(page)


def say_saga(row: Row, as_json: bool) -> None:
    """One saga with its history."""
    if as_json:
        return say_json(row)
    user = row["user"]
    facts = {
        "id": row["id"],
        "user": f"{user['name']} <{user['email']}>, {user['department']}",
        "state": _state(row),
        "why": row["why"],
        "device": row.get("device_id"),
        "authorizations": ", ".join(row.get("authorizations") or []),
        "started": row["started_at"],
        "ended": row.get("ended_at"),
        "took": _seconds(row),
    }
    shown = [(Text(name, "bold"), value) for name, value in facts.items() if value]
    _table((), shown)
    steps = (
        (
            h["step"],
            h["service"],
            str(h["attempts"]),
            h["started_at"],
            h["ended_at"],
            _word(h["outcome"]),
            h.get("reason"),
        )
        for h in row["history"]
    )
    _table(("step", "service", "attempts", "started", "ended", "outcome", "reason"), steps)


def say_entry(entry: Row, id: str, as_json: bool) -> None:
    """One line of a trace."""
    if as_json:
        return say_json({"id": id, **entry})
    where = f"{entry['topic']}/{entry['partition']}@{entry['offset']}"
    what = " ".join(f"{key}={_short(value)}" for key, value in _found(entry))
    attempt = f" (attempt {entry['attempt']})" if (entry.get("attempt") or 1) > 1 else ""
    line = Text.assemble(
        (time_of_day(str(entry["at"]), today=datetime.now(UTC).date()), "dim"),
        f"  {id:<22.22} {entry.get('step') or '':<12}",
        _word(f"{entry['kind']:<12}"),
        f" {what}{attempt}",
        (f"  {where}", "dim"),
    )
    _out().print(line, soft_wrap=True)


def time_of_day(at: str, today: date) -> str:
    """An ISO time in UTC as one line of a trace shows it: with its Z, and with the date unless that is today's."""
    day, _, time = at.partition("T")
    return time if day == today.isoformat() else at


def say_errors(page: Row, as_json: bool) -> None:
    """Dead letters, or groups of them."""
    if as_json:
        return say_json(page)
    items: Sequence[Row] = page["items"]
    wanted = ("name", "id", "service", "step", "error", "reason", "attempts", "at")
    if items and "count" in items[0]:
        wanted = ("service", "step", "error", "count", "first_at", "last_at", "reason", "example")
    columns = [name for name in wanted if any(name in item for item in items)]
    _table(columns, ([_short(item.get(name, "")) for name in columns] for item in items))
    _count({**page, "total": len(items)} if "count" in columns else page)  # the total of groups is that of letters


def say_letter(letter: Row, as_json: bool) -> None:
    """One dead letter: what happened, and what stands in it."""
    if as_json:
        return say_json(letter)
    names = ("name", "id", "service", "step", "error", "reason", "attempts", "at", "open", "key")
    facts = {name: letter[name] for name in names if letter[name] is not None}
    if letter.get("original_bytes") is not None:
        facts["stored cut"] = f"{letter['kept_bytes']:,} of {letter['original_bytes']:,} bytes"
    facts |= {f"header {name}": value for name, value in letter["headers"].items()}
    _table((), [(Text(_harmless(name), "bold"), _harmless(_short(value))) for name, value in facts.items()])
    if letter["value"] is not None:
        click.echo(_harmless(letter["value"]))
    else:
        click.echo(f"base64: {letter['value_base64']}" if letter["value_base64"] is not None else "no value (null)")
    return None


def _harmless(text: str) -> str:
    """Anybody may have written it: nothing in it may control the terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text)


def say_ordered(verb: str, answer: Row, as_json: bool) -> None:
    """How many an operator's order concerns, or has concerned; and what was left out, on stderr."""
    if as_json:
        return say_json(answer)
    done = {"redrive": "redriven", "rollback": "on the way back"}[verb]
    click.echo(str(answer["count"]) if answer["dry_run"] else f"{answer['count']} {done}")
    for reason, count in answer.get("left_out", {}).items():
        click.echo(f"{count} left out: {reason}", err=True)
    return None


def say_settings(settings: Iterable[Described], as_json: bool) -> None:
    """Every setting."""
    if as_json:
        return say_json([each._asdict() for each in settings])
    rows = ((each.variable, each.value, each.default, f"{each.meaning} [{each.allowed}]") for each in settings)
    _table(("variable", "value", "default", "meaning"), rows)


def _out() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    table = Table(box=None, show_header=bool(columns), header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell or "")) for cell in row))
    console = _out()
    if not console.is_terminal:  # a pipe has no width: nothing is cut
        console.width = 10_000
        table.columns = [_natural(column) for column in table.columns]
    console.print(table)


def _natural(column: Any) -> Any:
    column.no_wrap = True
    return column


def _count(page: Row) -> None:
    shown, total = len(page["items"]), page["total"]
    if shown < total:
        click.echo(f"{shown} of {total}: more with --limit", err=True)
    elif not shown:
        click.echo("none", err=True)


def _state(row: Row) -> Text:
    overdue = Text(" (overdue)", "yellow") if row.get("overdue") else Text("")
    return _word(row["state"]) + overdue


def _word(word: str) -> Text:
    return Text(word, COLOURS.get(word.strip(), "red"))


def _found(entry: Row) -> Iterable[tuple[str, Any]]:
    """What is worth a place in the line: what the step found out, why, and when next; its times are in the JSON."""
    data = dict(entry.get("data") or {})
    facts = data.pop("facts", None) or {}
    for name in ("started_at", "received_at"):
        data.pop(name, None)
    return [(name, value) for name, value in (facts | data).items() if value not in (None, "")]


def _seconds(row: Row) -> str:
    return f"{row['duration']:.2f} s" if row.get("duration") is not None else ""


def _short(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
