"""Settings: defaults, validation messages, and how they are displayed."""

import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from saga_app import settings
from saga_app.settings import Lag, Mail, Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"

INVALID_VALUES = {
    "SAGA_BROKER": ["localhost:9092", "kafka://", "kafka://a:x", "http://a:9092"],
    "SAGA_PLAN": ["training", "a b:PLAN", "module:"],
    "SAGA_WORLD": ["training.world", "a b:c", "module:"],
    "SAGA_PARTITIONS": ["0", "many", "1001", "1.5"],
    "SAGA_REPLICATION": ["0", "11"],
    "SAGA_LAG": ["x", "-1", "2-1", "1-", "0.5-2.0-3", "nan"],
    "SAGA_SEED": ["-1", "seed"],
    "SAGA_FLAKY_RATE": ["2", "-0.1", "nan", "often"],
    "SAGA_ERROR_RATE": ["2"],
    "SAGA_DENY_RATE": ["2"],
    "SAGA_DEADLINE": ["0", "-1", "inf", "soon"],
    "SAGA_STORE": ["rocksdb", "redis://"],
    "SAGA_INSTANCE": ["a b", "a/b", "x" * 101],
    "SAGA_INDEX": ["mysql://u@h/d", "index.sqlite", "sqlite:///"],
    "SAGA_BIND": ["everywhere", "300.0.0.1"],
    "SAGA_ADVERTISE": ["a b", "http://h", "h:80", "h/x", "-h", "[::1]"],
    "SAGA_CONSOLE_PORT": ["0", "65536", "http"],
    "SAGA_PROVISIONER_PORT": ["0"],
    "SAGA_AUTHORIZER_PORT": ["0"],
    "SAGA_NOTIFIER_PORT": ["0"],
    "SAGA_EMBEDDED_PORT": ["0"],
    "SAGA_EMBEDDED": ["perhaps"],
    "SAGA_MAIL": ["mail", "smtp://", "smtp://h:x", "http://h", "smtp://h?from=ada", "smtp://h?to=a@b", "smtps://h/x"],
    "SAGA_TOKEN": ["short"],
    "SAGA_TRUSTED": ["everyone", "10.0.0.0/99"],
    "SAGA_PUBLIC": ["perhaps"],
    "SAGA_PUBLIC_URL": [
        "saga.example.com",
        "https://",
        "ftp://a",
        "https://a/saga",
        "https://a:x",
        "https://u@a",
        "null",
    ],
    "SAGA_PROXIES": ["nginx", "10.0.0.0/99"],
    "SAGA_LOG": ["xml"],
    "SAGA_LOG_LEVEL": ["loud", "warn", "10"],
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes all SAGA_ variables from the environment."""
    for name in os.environ:
        if name.startswith("SAGA_"):
            monkeypatch.delenv(name)


def test_the_defaults_are_the_documented_ones() -> None:
    loaded = settings.load()
    assert (loaded.broker, loaded.partitions, loaded.replication) == ("kafka://127.0.0.1:9092", 12, 1)
    assert (loaded.lag, loaded.deadline, loaded.store) == (Lag(0.5, 2.0), 60, "rocksdb://")
    ports = tuple(map(loaded.port, ("console", "provisioner", "authorizer", "notifier")))
    assert (*ports, loaded.embedded_port) == (8080, 6066, 6067, 6068, 19092)
    assert (loaded.bind, loaded.instance, loaded.token, loaded.policy) == ("127.0.0.1", None, None, None)
    assert loaded.trusted == (ip_network("127.0.0.0/8"), ip_network("::1"))
    assert loaded.index == "sqlite:///.saga/index.sqlite"
    assert not loaded.embedded


@pytest.mark.parametrize(
    ("variable", "value"), [(name, value) for name, values in INVALID_VALUES.items() for value in values]
)
def test_an_invalid_value_is_reported_in_one_line_with_allowed_values(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as exit_info:
        settings.load()
    lines = capsys.readouterr().err.splitlines()
    shown = "***" if variable == "SAGA_TOKEN" else value
    assert exit_info.value.code == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"{variable}={shown} is invalid; allowed: ")


def test_every_restricted_setting_has_an_invalid_value_above() -> None:
    unrestricted = {"SAGA_DATADIR", "SAGA_POLICY"}
    assert set(INVALID_VALUES) | unrestricted == {settings.variable(name) for name in Settings.model_fields}


def test_a_misspelt_variable_is_reported_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAGA_FLAKY_RAT", "0.5")
    assert settings.load().flaky_rate == 0
    assert capsys.readouterr().err == "warning: unknown variable SAGA_FLAKY_RAT, did you mean SAGA_FLAKY_RATE?\n"


@pytest.mark.parametrize(
    ("text", "lag"), [("0", Lag(0, 0)), ("1.5", Lag(1.5, 1.5)), ("0.5-2.0", Lag(0.5, 2)), (" 1-3 ", Lag(1, 3))]
)
def test_a_lag_is_a_number_or_a_range_of_seconds(text: str, lag: Lag, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_LAG", text)
    assert settings.load().lag == lag


def test_lists_of_brokers_are_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_BROKER", "kafka://a, b:9093;kafka://c:1")
    assert settings.load().broker == "kafka://a:9092,kafka://b:9093,kafka://c:1"


def test_the_mail_setting_has_a_host_and_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_MAIL", "smtp://mail.example.com:2525")
    assert settings.load().mail == Mail("smtp", "mail.example.com", 2525)


def test_the_mail_setting_may_have_encryption_login_and_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_MAIL", "smtps://saga%40example.com:p%40ss@mail.example.com?from=hr@example.com")
    mail = settings.load().mail
    assert (mail.scheme, mail.host, mail.port) == ("smtps", "mail.example.com", 465)
    assert (mail.user, mail.sender) == ("saga@example.com", "hr@example.com")
    assert mail.password is not None
    assert mail.password.get_secret_value() == "p@ss"


@pytest.mark.parametrize("password", ["hush", "hu%40sh", "hu@sh", "hush/hush", "hu:sh", "hu?sh"])
def test_the_password_of_the_mail_server_is_never_shown(
    password: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAGA_MAIL", f"smtp://saga:{password}@mail.example.com:587?from=hr@example.com")
    try:
        loaded = settings.load()
    except SystemExit:
        shown = capsys.readouterr().err
    else:
        shown = next(each.value for each in settings.describe(loaded) if each.variable == "SAGA_MAIL")
        assert shown == "smtp://saga:***@mail.example.com:587?from=hr%40example.com"
        shown += repr(loaded) + str(loaded.mail)
    assert "hu" not in shown
    assert "sh@" not in shown


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_SEED", "")
    monkeypatch.setenv("SAGA_INSTANCE", "")
    monkeypatch.setenv("SAGA_INDEX", "")
    loaded = settings.load()
    assert (loaded.seed, loaded.instance) == (0, None)
    assert loaded.index


def test_the_default_index_is_in_the_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_DATADIR", "/var/lib/saga")
    assert settings.load().index == "sqlite:////var/lib/saga/index.sqlite"


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_TOKEN", "sesame-open")
    monkeypatch.setenv("SAGA_INDEX", "postgresql://saga:hush@db/saga")
    loaded = settings.load()
    shown = {each.variable: each.value for each in settings.describe(loaded)}
    assert shown["SAGA_TOKEN"] == "***"
    assert shown["SAGA_INDEX"] == "postgresql://saga:***@db/saga"
    assert loaded.token is not None
    assert loaded.token.get_secret_value() == "sesame-open"
    assert "sesame-open" not in repr(loaded)


def test_displayed_values_can_be_used_as_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings.load()
    for each in settings.describe(before):
        monkeypatch.setenv(each.variable, each.value)
    assert settings.load() == before


def test_the_reference_lists_every_setting_as_the_program_does() -> None:
    page = REFERENCE.read_text("utf-8")
    for each in settings.describe(Settings()):
        assert f"| `{each.variable}` | {each.default or '–'} | {each.meaning} | {each.allowed} |" in page
