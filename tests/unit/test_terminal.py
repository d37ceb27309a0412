"""Control characters in data never reach the terminal: commands, logs and relayed lines print them escaped."""

import io
import json
import logging
import logging.config
import sys
import unicodedata
from collections.abc import Callable, Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as RichConsole

from devtools.system import saga
from saga_app.audit import Finding, Report
from saga_app.audit.show import show
from saga_app.commands.table import print_table
from saga_app.local.console_output import ConsoleOutput
from saga_app.service import log
from saga_app.terminal import to_json, visible
from tests.fakes.console import ENTRY, GROUP, FakeConsole, letter, row

#: Control sequences and characters that change what a terminal shows, one of each kind.
ATTACKS = {
    "clear the screen": "\x1b[2J\x1b[H",
    "set the title": "\x1b]0;title\x07",
    "hyperlink": "\x1b]8;;http://x.example\x1b\\link",
    "eight-bit CSI": "\x9b31m",
    "eight-bit OSC": "\x9d0;title\x9c",
    "delete": "\x7f\x08\x08",
    "overwrite the line": "\rall is well",
    "add a line": "\nall is well",
    "change the direction": "\u202eevil\u2066",
    "separate lines": "\u2028\u2029\x85",
    "lone surrogate": "\ud800",
    "invisible": "\u200b\ufeff\u2060",
    "markup": "[red]x[/red] [link=http://x.example]y[/link]",
}
ATTACK = "".join(ATTACKS.values())


def control_characters(text: str, allowed: str = "\n\t") -> set[str]:
    """The characters of a text that control a terminal or are invisible, except the allowed ones."""
    categories = {"Cc", "Cs", "Zl", "Zp"}
    controls = {character for character in text if unicodedata.category(character) in categories}
    return (controls | {*text} & {*"\u202e\u2066\u200b\ufeff\u2060"}) - set(allowed)


@pytest.mark.field(6)
@pytest.mark.parametrize("name", ATTACKS)
def test_control_sequences_are_shown_as_text(name: str, now: Callable[[str], None]) -> None:
    assert not control_characters(visible(ATTACKS[name]), allowed="")
    names = "Łukasz, José\u00a0, علی\u200cرضا 👩\u200d💻 阿达\u3000"
    assert visible(names) == names
    now(f"{name}: {visible(ATTACKS[name])}"[:50])


@pytest.mark.field(6)
@given(st.text(st.characters()))
def test_any_text_is_escaped_and_its_json_keeps_the_value(text: str) -> None:
    assert not control_characters(visible(text), allowed="")
    assert not control_characters(to_json({text: [text]}), allowed="")
    assert json.loads(to_json(text)) == json.loads(json.dumps(text))


@pytest.fixture
def console() -> Iterator[FakeConsole]:
    """A console whose responses have `ATTACK` in every text."""
    with FakeConsole() as console:
        user = {"name": f"A{ATTACK}", "email": f"a{ATTACK}@b", "department": ATTACK}
        visit = row("x")["history"][0] | {"reason": ATTACK, "service": ATTACK}
        saga_row = row(
            "user-1", user=user, why=ATTACK, device_id=ATTACK, authorizations=[ATTACK], history=[visit], step=ATTACK
        )
        console.rows = [saga_row]
        console.letters = [letter(0) | {"reason": ATTACK, "error": ATTACK, "id": ATTACK}]
        entry = ENTRY | {"data": {"facts": {"x": ATTACK}, "reason": ATTACK}, "kind": "failed", "service": ATTACK}
        console.events = [("step", {"entry": entry, "saga": saga_row})]
        yield console


COMMANDS = [
    ["list"],
    ["list", "--json"],
    ["show", "user-1"],
    ["show", "user-1", "--json"],
    ["errors"],
    ["errors", "--json"],
    ["errors", "--group"],
    ["errors", "notify[3]@7"],
    ["trace", "user-1", "--since", "10m"],
    ["redrive", "user-1"],
    ["settings"],
]


@pytest.mark.field(6)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_prints_control_characters(
    console: FakeConsole, command: list[str], monkeypatch: pytest.MonkeyPatch, now: Callable[[str], None]
) -> None:
    monkeypatch.setitem(GROUP, "reason", ATTACK)
    monkeypatch.setitem(ENTRY, "data", {"facts": {"device_id": ATTACK}, "reason": ATTACK})
    done = saga(*command, env={"SAGA_CONSOLE_PORT": str(console.port), "PYTHONIOENCODING": "utf-8:surrogatepass"})
    assert done.returncode == 0, done.stderr
    assert not control_characters(done.stdout + done.stderr)
    assert "[red]x[/red]" in done.stdout or command[0] in ("redrive", "settings") or command[-1] == "notify[3]@7"
    now(f"{command[0]}: escaped")


@pytest.mark.field(6)
def test_an_error_response_is_printed_without_control_characters(console: FakeConsole) -> None:
    console.problem = 422, {"detail": ATTACK, "errors": [{"index": 1, "field": ATTACK, "message": ATTACK}]}
    done = saga("new", env={"SAGA_CONSOLE_PORT": str(console.port)})
    assert done.returncode == 1
    assert not control_characters(done.stderr)


@pytest.mark.field(6)
@pytest.mark.parametrize("as_json", [False, True])
def test_the_audit_prints_no_control_characters(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    finding = Finding("never-ended", f"u{ATTACK}", ATTACK, (ATTACK,))
    show(Report(1, 1, [finding], {}, [ATTACK]), 5, as_json=as_json)
    assert not control_characters(capsys.readouterr().out)


@pytest.mark.field(6)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_cells_with_control_characters_keep_one_line_for_each_row(width: int) -> None:
    out = io.StringIO()
    terminal = RichConsole(file=out, width=width, force_terminal=True, no_color=True, color_system=None, markup=False)
    print_table(("id", "why"), [["ada", "a\tb\nc\rd"], ["bob", "fine"]], whole=("id",), console=terminal)
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["id", "ada", "bob"]


@pytest.mark.field(6)
@pytest.mark.parametrize("text", ["relayed\x1b[31m red \x1b[0mline", "\x1b[2J\x1b]0;t\x07\x9b2J\r\u202e"])
def test_the_supervisor_relays_no_control_characters(capsys: pytest.CaptureFixture[str], text: str) -> None:
    ConsoleOutput(["console"]).line("console", f"printed {text}")
    shown = capsys.readouterr().out
    assert not control_characters(shown)
    assert "printed" in shown


@pytest.mark.field(6)
@pytest.mark.parametrize("form", ["console", "json"])
def test_log_lines_have_no_control_characters(
    form: str, capsys: pytest.CaptureFixture[str], now: Callable[[str], None]
) -> None:
    before = structlog.get_config()
    settings = log.config("notifier", form)
    settings["disable_existing_loggers"] = False
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        logging.config.dictConfig(settings | {"loggers": {}})
        logging.root.handlers[0].setStream(sys.stderr)  # type: ignore[attr-defined]
        structlog.get_logger("saga_app").warning(
            "attempt failed", reason=ATTACK, error=ValueError(ATTACK), more=[ATTACK]
        )
        logging.getLogger("another library").warning(f"a message {ATTACK}")
    finally:
        logging.root.handlers[:], logging.root.level = handlers, level
        structlog.configure(**before)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert not control_characters("".join(lines).replace("\x1b[0m", ""), allowed="")
    now(f"{form}: {len(lines)} events, {len(lines)} lines")
