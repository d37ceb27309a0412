"""The settings: environment variables, read once at start-up and passed to the rest of the program as values.

`load()` returns the settings of this process; `describe()` lists all of them with value, default and meaning.
"""

import difflib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from saga_app import active_plan
from saga_app.active_plan import SERVICES

PREFIX = "SAGA_"

Network = IPv4Network | IPv6Network


#: Default port by URL scheme.
DEFAULT_PORTS = {"http": 80, "https": 443}

#: A host as `urlsplit` returns it: a name, or an address without brackets.
_HOST = re.compile(r"[\w.:~-]+")


class Lag(NamedTuple):
    """Range of the duration of a simulated step, in seconds."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.least:g}" if self.least == self.most else f"{self.least}-{self.most}"


#: Default sender address of mails.
SENDER = "onboarding@localhost"


class Mail(NamedTuple):
    """How mail is sent. `scheme` is log (only logged), smtp, or smtps (implicit TLS)."""

    scheme: str
    host: str = ""
    port: int = 0
    user: str | None = None
    password: SecretStr | None = None
    sender: str = SENDER

    def __str__(self) -> str:
        """The value of SAGA_MAIL, with the password masked."""
        if self.scheme == "log":
            return "log:"
        user = "" if self.user is None else quote(self.user, "") + (":***@" if self.password else "@")
        sender = "" if self.sender == SENDER else f"?from={quote(self.sender, '')}"
        return f"{self.scheme}://{user}{_in_brackets(self.host)}:{self.port}{sender}"


def _lag(value: Any) -> Lag:
    if isinstance(value, tuple):
        return Lag(*value)
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)(?:-(\d+(?:\.\d+)?|\.\d+))?", str(value).strip())
    if found is None:
        raise ValueError
    lag = Lag(float(found[1]), float(found[2] or found[1]))
    if lag.least > lag.most:
        raise ValueError
    return lag


def _mail(value: Any) -> Mail:
    if isinstance(value, tuple):
        return Mail(*value)
    if value == "log:":
        return Mail("log")
    url = urlsplit(str(value))
    query = parse_qs(url.query, keep_blank_values=True, strict_parsing=True) if url.query else {}
    sender = query.pop("from", [SENDER])[-1]
    if url.scheme not in ("smtp", "smtps") or not url.hostname or url.path.strip("/") or url.fragment or query:
        raise ValueError
    if url.password and not url.username:
        raise ValueError
    _check_sender(sender)
    user = unquote(url.username) if url.username else None
    password = SecretStr(unquote(url.password)) if url.password else None
    return Mail(url.scheme, url.hostname, url.port or (465 if url.scheme == "smtps" else 25), user, password, sender)


def _check_sender(address: str) -> None:
    """Raises `ValueError` if the address is invalid. The import is local because it is slow and rarely needed."""
    from saga_app.saga.email_address import mailbox

    mailbox(address, local_names=True)


def _networks(value: Any) -> tuple[Network, ...]:
    if not isinstance(value, str):
        return tuple(value)
    if value.strip().lower() == "none":
        return ()
    return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())


def origin_of(url: str) -> str | None:
    """The origin (RFC 6454) of a URL in the form that browsers send; None if the URL is malformed or has a path.

    Example: `HTTPS://Saga.Example.com.:443` becomes `https://saga.example.com`.
    """
    try:
        parts = urlsplit(url)
        host, port = host_of(parts.netloc), parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or host is None or url.partition("://")[2] != parts.netloc:
        return None
    return f"{parts.scheme}://{_in_brackets(host)}" + (
        f":{port}" if port not in (None, DEFAULT_PORTS[parts.scheme]) else ""
    )


def host_of(netloc: str) -> str | None:
    """The normalised host of a `HOST[:PORT]` header: lower case, IDNA, no trailing dot; None if it is malformed."""
    try:
        parts = urlsplit(f"//{netloc}")
        host, _ = (parts.hostname or "").rstrip("."), parts.port
        if not host or "@" in netloc or parts.netloc != netloc or not _HOST.fullmatch(host):
            return None
        return str(ip_address(host)) if ":" in host else host.encode("idna").decode()
    except ValueError:  # port out of range, unmatched brackets, or a label that is too long
        return None


def _origins(value: Any) -> tuple[str, ...]:
    """Normalised origins, so that `https://saga.example.com/` and `HTTPS://SAGA.example.com:443` compare equal."""
    if not isinstance(value, str):
        return tuple(value)
    origins = [origin_of(part.strip().rstrip("/")) for part in value.split(",") if part.strip()]
    if not all(origins):
        raise ValueError
    return tuple(origin for origin in origins if origin)


def _broker(value: Any) -> str:
    """A normalised broker list, such as kafka://a:9092,kafka://b:9092."""
    parts = re.split(r"[,;]", str(value))
    if not parts[0].startswith("kafka://"):
        raise ValueError
    hosts = [urlsplit("kafka://" + part.strip().removeprefix("kafka://")) for part in parts]
    if any(not host.hostname or host.path.strip("/") for host in hosts):
        raise ValueError
    return ",".join(f"kafka://{_in_brackets(host.hostname or '')}:{host.port or 9092}" for host in hosts)


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bind(value: Any) -> str:
    return str(ip_address("127.0.0.1" if value == "localhost" else value))


def _index(value: Any) -> str:
    if not re.match(r"(sqlite(\+\w+)?:///[^?]|postgresql(\+\w+)?://\S)", str(value)):
        raise ValueError
    return str(value)


def _setting(default: Any, meaning: str, allowed: str, **limits: Any) -> Any:
    return Field(default, description=meaning, json_schema_extra={"allowed": allowed}, **limits)


#: A reference to a Python object: package.module:NAME.
REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"

RATE = {"ge": 0, "le": 1, "allow_inf_nan": False}
PORT = {"ge": 1, "le": 65535}


def port_field(service: str) -> str:
    """The name of the field with the port of a service; the environment variable is SAGA_<SERVICE>_PORT."""
    return f"{service.replace('-', '_')}_port"


class CommonSettings(BaseSettings):
    """Settings that do not depend on the plan. The variable of a field is SAGA_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    broker: Annotated[str, BeforeValidator(_broker)] = _setting(
        "kafka://127.0.0.1:9092", "Kafka bootstrap servers", "kafka://HOST:PORT, several separated by commas"
    )
    partitions: int = _setting(
        12,
        "partitions of every topic; also the maximum number of active workers of a service",
        "a whole number from 1 to 1000",
        ge=1,
        le=1000,
    )
    replication: int = _setting(1, "replication factor of every topic", "a whole number from 1 to 10", ge=1, le=10)
    lag: Annotated[Lag, NoDecode, BeforeValidator(_lag)] = _setting(
        Lag(0.5, 2.0), "duration of a simulated step, in seconds", "seconds or a range, such as 0 or 0.5-2.0"
    )
    seed: int = _setting(0, "random seed of the simulated steps", "a whole number, 0 or more", ge=0)
    flaky_rate: float = _setting(
        0.0, "fraction of attempts of simulated steps that fail with a transient error", "a number from 0 to 1", **RATE
    )
    error_rate: float = _setting(
        0.0, "fraction of simulated steps that fail permanently", "a number from 0 to 1", **RATE
    )
    deny_rate: float = _setting(0.0, "fraction of simulated steps that are denied", "a number from 0 to 1", **RATE)
    deadline: float = _setting(
        60.0,
        "time after which an unfinished saga is overdue, in seconds",
        "seconds, more than 0",
        gt=0,
        allow_inf_nan=False,
    )
    store: Literal["memory://", "rocksdb://"] = _setting(
        "rocksdb://",
        "local store of a worker's tables (with the embedded broker, saga up uses memory://)",
        "memory:// or rocksdb://",
    )
    datadir: Path = _setting(Path(".saga"), "directory of the local tables and the console's index", "a directory")
    instance: str | None = _setting(
        None,
        "name of this worker for static group membership, which avoids a rebalance at a restart; unique among the "
        "workers of a service",
        "up to 100 letters, digits and . _ -",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
    )
    index: Annotated[str, BeforeValidator(_index)] = _setting(
        "",
        "database of the console's index, rebuilt from Kafka if it is missing; default: SQLite in SAGA_DATADIR",
        "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE",
    )
    bind: Annotated[str, BeforeValidator(_bind)] = _setting(
        "127.0.0.1", "address on which the services listen", "an IP address of this machine"
    )
    advertise: str | None = _setting(
        None,
        "host under which other workers reach this one; default: SAGA_BIND, or the name or address of this machine",
        "a host name or an IP address, without a port",
        pattern=r"^(?:[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9.])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$",
    )
    console_port: int = _setting(8080, "port of the console: page and API", "a port from 1 to 65535", **PORT)
    embedded_port: int = _setting(19092, "port of the embedded broker", "a port from 1 to 65535", **PORT)
    embedded: bool = _setting(False, "whether the broker is the embedded one; set by saga up", "1 or 0")
    mail: Annotated[Mail, NoDecode, BeforeValidator(_mail)] = _setting(
        Mail("log"),
        "mail server; log: only logs mails",
        "log:, or smtp(s)://[USER:PASSWORD@]HOST[:PORT][?from=ADDRESS]",
    )
    token: SecretStr | None = _setting(
        None,
        "access token (Authorization: Bearer …) for clients outside the trusted networks",
        "8 to 200 characters",
        min_length=8,
        max_length=200,
    )
    trusted: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = _setting(
        (ip_network("127.0.0.0/8"), ip_network("::1")),
        "networks whose clients have full access without the token",
        "networks separated by commas, such as 127.0.0.0/8,::1, or none",
    )
    public: bool = _setting(False, "allow all clients to read without the token; changes still require it", "1 or 0")
    public_url: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = _setting(
        (),
        "public origins of the console behind a reverse proxy",
        "https://HOST[:PORT] without a path, several separated by commas",
    )
    proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = _setting(
        (),
        "reverse proxies whose forwarding headers (X-Forwarded-…, Forwarded) are trusted",
        "networks separated by commas, such as 10.0.0.5,fd00::/64, or none",
    )
    plan: str = _setting(
        active_plan.DEFAULT_PLAN,
        "plan of the sagas: a Plan object",
        "package.module:NAME",
        pattern=REFERENCE,
    )
    world: str = _setting(
        "saga_app.service.onboarding_world:make_world",
        "adapters to external systems: a function that takes the settings and returns a World",
        "package.module:NAME",
        pattern=REFERENCE,
    )
    policy: Path | None = _setting(
        None, "departments and their entitlements; default: the file in the package", "a YAML file"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)] = _setting(
        "info",
        "log level; debug includes personal data. faust's option -l takes precedence",
        "debug, info, warning or error",
    )
    log: Literal["console", "json"] = _setting(
        None, "log format; default: console on a terminal, otherwise json", "console or json"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_depend(cls, given: dict[str, Any]) -> dict[str, Any]:
        given.setdefault("index", f"sqlite:///{given.get('datadir') or '.saga'}/index.sqlite")
        given.setdefault("log", "console" if sys.stderr.isatty() else "json")
        return given

    def port(self, service: str) -> int:
        """The port on which a service of the plan, or the console, listens."""
        return int(getattr(self, port_field(service)))


#: Default port of the plan's first service; the following services use the following ports.
FIRST_PORT = 6066

if TYPE_CHECKING:

    class Settings(CommonSettings):
        """All settings: the common ones and a port for each service of the plan."""

else:
    Settings = create_model(
        "Settings",
        __base__=CommonSettings,
        __doc__="All settings: the common ones and a port for each service of the plan.",
        **{
            port_field(service): (
                int,
                _setting(FIRST_PORT + place, f"port of the {service.capitalize()}", "a port from 1 to 65535", **PORT),
            )
            for place, service in enumerate(SERVICES)
        },
    )


class Described(NamedTuple):
    """A setting as it is displayed, with secrets masked."""

    variable: str
    value: str
    default: str
    meaning: str
    allowed: str


def load() -> Settings:
    """The settings of this process.

    For an invalid value, prints the variable and the allowed values to stderr and exits with code 2.
    """
    for line in unknown(os.environ):
        print(f"warning: {line}", file=sys.stderr)
    try:
        return Settings()
    except ValidationError as error:
        for line in _error_lines(error):
            print(line, file=sys.stderr)
        raise SystemExit(2) from None


def unknown(environment: Mapping[str, str]) -> Iterator[str]:
    """A warning for each SAGA_ variable that is not a setting."""
    known = [variable(name) for name in Settings.model_fields]
    for name in environment:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            yield f"unknown variable {name}" + (f", did you mean {near[0]}?" if near else "; `saga settings` lists all")


def describe(settings: Settings) -> list[Described]:
    """All settings in the order of their definition."""
    return [
        Described(
            variable(name),
            _display_value(name, getattr(settings, name)),
            _display_value(name, field.default),
            field.description or "",
            _allowed(field),
        )
        for name, field in Settings.model_fields.items()
    ]


def variable(field: str) -> str:
    """The environment variable of a settings field."""
    return PREFIX + field.upper()


def _error_lines(error: ValidationError) -> Iterator[str]:
    for name in dict.fromkeys(str(problem["loc"][0]) for problem in error.errors()):
        value = os.environ.get(variable(name), "")
        shown = "***" if name == "token" else _without_password(value)
        yield f"{variable(name)}={shown} is invalid; allowed: {_allowed(Settings.model_fields[name])}"


def _allowed(field: FieldInfo) -> str:
    return str((field.json_schema_extra or {})["allowed"])  # type: ignore[index]


def _display_value(name: str, value: Any) -> str:
    match value:
        case None | "":
            return ""
        case bool():
            return str(int(value))
        case float():
            return f"{value:g}"
        case SecretStr():
            return "***"
        case tuple() if name in ("trusted", "proxies", "public_url"):
            return ",".join(map(str, value)) or ("none" if name == "trusted" else "")
    return _without_password(str(value))


def _without_password(text: str) -> str:
    """The URL with its password masked, up to the last @ because a password may contain one."""
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", text)
