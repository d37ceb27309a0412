"""The settings: environment variables, read once at the edge; the rest of the program is handed values.

`load()` for a program that starts; `describe()` for the person who wants to know what there is to set.
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


#: By scheme.
DEFAULT_PORTS = {"http": 80, "https": 443}

#: What a host may consist of, after `urlsplit`: a name, or an address without its brackets.
_HOST = re.compile(r"[\w.:~-]+")


class Lag(NamedTuple):
    """How long a mocked step takes: seconds, from-to."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.least:g}" if self.least == self.most else f"{self.least}-{self.most}"


#: Who a mail is from, when nothing else is set.
SENDER = "onboarding@localhost"


class Mail(NamedTuple):
    """Where mail goes: the scheme is log, smtp or smtps (TLS from the first byte)."""

    scheme: str
    host: str = ""
    port: int = 0
    user: str | None = None
    password: SecretStr | None = None
    sender: str = SENDER

    def __str__(self) -> str:
        """As it is set, without the password."""
        if self.scheme == "log":
            return "log:"
        user = "" if self.user is None else quote(self.user, "") + (":***@" if self.password else "@")
        sender = "" if self.sender == SENDER else f"?from={quote(self.sender, '')}"
        return f"{self.scheme}://{user}{_bracketed(self.host)}:{self.port}{sender}"


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
    """Raises `ValueError`. The library is imported by who sends mail only: it takes longer than all other settings."""
    from saga_app.saga.email_address import mailbox

    mailbox(address, local_names=True)


def _networks(value: Any) -> tuple[Network, ...]:
    if not isinstance(value, str):
        return tuple(value)
    if value.strip().lower() == "none":
        return ()
    return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())


def origin_of(url: str) -> str | None:
    """The origin (RFC 6454) of a URL without path, as browsers spell it; None if it is no such URL.

    `HTTPS://Saga.Example.com.:443` is `https://saga.example.com`.
    """
    try:
        parts = urlsplit(url)
        host, port = host_of(parts.netloc), parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or host is None or url.partition("://")[2] != parts.netloc:
        return None
    return f"{parts.scheme}://{_bracketed(host)}" + (
        f":{port}" if port not in (None, DEFAULT_PORTS[parts.scheme]) else ""
    )


def host_of(netloc: str) -> str | None:
    """The host of `HOST[:PORT]` (a Host header): lower case, no trailing dot, IDNA; None if it is malformed."""
    try:
        parts = urlsplit(f"//{netloc}")
        host, _ = (parts.hostname or "").rstrip("."), parts.port
        if not host or "@" in netloc or parts.netloc != netloc or not _HOST.fullmatch(host):
            return None
        return str(ip_address(host)) if ":" in host else host.encode("idna").decode()
    except ValueError:  # a port out of range, brackets that do not match, a label that is too long
        return None


def _origins(value: Any) -> tuple[str, ...]:
    """`https://saga.example.com/` and `HTTPS://SAGA.example.com:443` are one origin, spelled as browsers do."""
    if not isinstance(value, str):
        return tuple(value)
    origins = [origin_of(part.strip().rstrip("/")) for part in value.split(",") if part.strip()]
    if not all(origins):
        raise ValueError
    return tuple(origin for origin in origins if origin)


def _broker(value: Any) -> str:
    """One spelling for several brokers: kafka://a:9092,kafka://b:9092."""
    parts = re.split(r"[,;]", str(value))
    if not parts[0].startswith("kafka://"):
        raise ValueError
    hosts = [urlsplit("kafka://" + part.strip().removeprefix("kafka://")) for part in parts]
    if any(not host.hostname or host.path.strip("/") for host in hosts):
        raise ValueError
    return ",".join(f"kafka://{_bracketed(host.hostname or '')}:{host.port or 9092}" for host in hosts)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bind(value: Any) -> str:
    return str(ip_address("127.0.0.1" if value == "localhost" else value))


def _index(value: Any) -> str:
    if not re.match(r"(sqlite(\+\w+)?:///[^?]|postgresql(\+\w+)?://\S)", str(value)):
        raise ValueError
    return str(value)


def _setting(default: Any, meaning: str, allowed: str, **limits: Any) -> Any:
    return Field(default, description=meaning, json_schema_extra={"allowed": allowed}, **limits)


#: package.module:NAME
REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"

RATE = {"ge": 0, "le": 1, "allow_inf_nan": False}
PORT = {"ge": 1, "le": 65535}


def port_field(service: str) -> str:
    """The field of a service's port: its variable is SAGA_<SERVICE>_PORT."""
    return f"{service.replace('-', '_')}_port"


class CommonSettings(BaseSettings):
    """What can be set whatever the plan; the variable is the field's name in capitals after SAGA_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    broker: Annotated[str, BeforeValidator(_broker)] = _setting(
        "kafka://127.0.0.1:9092", "the Kafka to use", "kafka://HOST:PORT, several separated by commas"
    )
    partitions: int = _setting(
        12,
        "partitions of every topic; the most workers a service can have",
        "a whole number from 1 to 1000",
        ge=1,
        le=1000,
    )
    replication: int = _setting(1, "copies of every topic", "a whole number from 1 to 10", ge=1, le=10)
    lag: Annotated[Lag, NoDecode, BeforeValidator(_lag)] = _setting(
        Lag(0.5, 2.0), "how long a mocked step takes, in seconds", "seconds, such as 0 or 0.5-2.0"
    )
    seed: int = _setting(0, "the seed of the mocks' dice", "a whole number, 0 or more", ge=0)
    flaky_rate: float = _setting(
        0.0, "how often an attempt of a mocked step fails; the next may not", "a number from 0 to 1", **RATE
    )
    error_rate: float = _setting(0.0, "how often a mocked step fails for good", "a number from 0 to 1", **RATE)
    deny_rate: float = _setting(0.0, "how often a mocked step says no", "a number from 0 to 1", **RATE)
    deadline: float = _setting(
        60.0,
        "when an unfinished saga counts as overdue, in seconds",
        "seconds, more than 0",
        gt=0,
        allow_inf_nan=False,
    )
    store: Literal["memory://", "rocksdb://"] = _setting(
        "rocksdb://",
        "where a worker keeps its table (saga up with the embedded broker: memory://)",
        "memory:// or rocksdb://",
    )
    datadir: Path = _setting(Path(".saga"), "where tables and indexes are kept", "a directory")
    instance: str | None = _setting(
        None,
        "this worker's own name (static group membership: quick restarts); no two live workers of a service share one",
        "up to 100 letters, digits and . _ -",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
    )
    index: Annotated[str, BeforeValidator(_index)] = _setting(
        "",
        "the console's index (rebuilt from Kafka when it is gone); default: sqlite in SAGA_DATADIR",
        "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE",
    )
    bind: Annotated[str, BeforeValidator(_bind)] = _setting(
        "127.0.0.1", "the address that the services listen on", "an IP address of this machine"
    )
    advertise: str | None = _setting(
        None,
        "the host under which other workers reach this one; default: SAGA_BIND, or this machine's name or address",
        "a host name or an IP address, without a port",
        pattern=r"^(?:[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9.])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$",
    )
    console_port: int = _setting(8080, "the console's port: page and API", "a port from 1 to 65535", **PORT)
    embedded_port: int = _setting(19092, "the embedded broker's port", "a port from 1 to 65535", **PORT)
    embedded: bool = _setting(False, "the broker is the embedded one, in memory (saga up sets it)", "1 or 0")
    mail: Annotated[Mail, NoDecode, BeforeValidator(_mail)] = _setting(
        Mail("log"), "where mail goes", "log:, or smtp(s)://[USER:PASSWORD@]HOST[:PORT][?from=ADDRESS]"
    )
    token: SecretStr | None = _setting(
        None,
        "with it (Authorization: Bearer …) clients outside the trusted networks may read and change things",
        "8 to 200 characters",
        min_length=8,
        max_length=200,
    )
    trusted: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = _setting(
        (ip_network("127.0.0.0/8"), ip_network("::1")),
        "networks whose clients may read and change things without the token",
        "networks separated by commas, such as 127.0.0.0/8,::1, or none",
    )
    public: bool = _setting(False, "everybody may read without the token; changes still need it", "1 or 0")
    public_url: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = _setting(
        (),
        "where browsers reach the console through a reverse proxy",
        "https://HOST[:PORT] without a path, several separated by commas",
    )
    proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = _setting(
        (),
        "reverse proxies whose forwarding headers (X-Forwarded-…, Forwarded) are believed",
        "networks separated by commas, such as 10.0.0.5,fd00::/64, or none",
    )
    plan: str = _setting(
        active_plan.DEFAULT,
        "the plan of the sagas: package.module:NAME of a Plan",
        "package.module:NAME",
        pattern=REFERENCE,
    )
    world: str = _setting(
        "saga_app.service.onboarding_world:make_world",
        "the adapters to the outside world: package.module:NAME of a function from these settings to a World",
        "package.module:NAME",
        pattern=REFERENCE,
    )
    policy: Path | None = _setting(
        None, "departments and what they get; default: the file in the package", "a YAML file"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)] = _setting(
        "info",
        "how much is logged; at debug level personal data, too. faust's -l comes before it",
        "debug, info, warning or error",
    )
    log: Literal["console", "json"] = _setting(
        None, "the form of the log; default: console on a terminal, else json", "console or json"
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


#: The port of the first service of a plan; the next one has the next port.
FIRST_PORT = 6066

if TYPE_CHECKING:

    class Settings(CommonSettings):
        """All settings: the common ones, and a port for each service of the plan."""

else:
    Settings = create_model(
        "Settings",
        __base__=CommonSettings,
        __doc__="All settings: the common ones, and a port for each service of the plan.",
        **{
            port_field(service): (
                int,
                _setting(FIRST_PORT + place, f"the {service.capitalize()}'s port", "a port from 1 to 65535", **PORT),
            )
            for place, service in enumerate(SERVICES)
        },
    )


class Described(NamedTuple):
    """A setting, for a person. The value of a secret is masked."""

    variable: str
    value: str
    default: str
    meaning: str
    allowed: str


def load() -> Settings:
    """The settings of this process. A wrong value ends it (exit code 2) with one line that says what is allowed."""
    for line in unknown(os.environ):
        print(f"warning: {line}", file=sys.stderr)
    try:
        return Settings()
    except ValidationError as error:
        for line in _wrong(error):
            print(line, file=sys.stderr)
        raise SystemExit(2) from None


def unknown(environment: Mapping[str, str]) -> Iterator[str]:
    """A line for every SAGA_ variable that means nothing."""
    known = [variable(name) for name in Settings.model_fields]
    for name in environment:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            yield f"unknown variable {name}" + (f", did you mean {near[0]}?" if near else "; `saga settings` lists all")


def describe(settings: Settings) -> list[Described]:
    """Every setting, in the order of the class."""
    return [
        Described(
            variable(name),
            _shown(name, getattr(settings, name)),
            _shown(name, field.default),
            field.description or "",
            _allowed(field),
        )
        for name, field in Settings.model_fields.items()
    ]


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def _wrong(error: ValidationError) -> Iterator[str]:
    for name in dict.fromkeys(str(problem["loc"][0]) for problem in error.errors()):
        value = os.environ.get(variable(name), "")
        shown = "***" if name == "token" else _without_password(value)
        yield f"{variable(name)}={shown} is wrong; allowed: {_allowed(Settings.model_fields[name])}"


def _allowed(field: FieldInfo) -> str:
    return str((field.json_schema_extra or {})["allowed"])  # type: ignore[index]


def _shown(name: str, value: Any) -> str:
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
    """Up to the last @: a password that is not percent-encoded may hold anything."""
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", text)
