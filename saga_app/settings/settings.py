"""The settings: a field for each environment variable, with its default, meaning and allowed values."""

import sys
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, create_model, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from saga_app import active_plan
from saga_app.active_plan import SERVICES
from saga_app.settings.values import (
    Lag,
    Mail,
    Network,
    parse_bind,
    parse_broker,
    parse_index,
    parse_lag,
    parse_mail,
    parse_networks,
    parse_origins,
)

PREFIX = "SAGA_"


def variable(field: str) -> str:
    """The environment variable of a settings field."""
    return PREFIX + field.upper()


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

    broker: Annotated[str, BeforeValidator(parse_broker)] = _setting(
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
    lag: Annotated[Lag, NoDecode, BeforeValidator(parse_lag)] = _setting(
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
    index: Annotated[str, BeforeValidator(parse_index)] = _setting(
        "",
        "database of the console's index, rebuilt from Kafka if it is missing; default: SQLite in SAGA_DATADIR",
        "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE",
    )
    bind: Annotated[str, BeforeValidator(parse_bind)] = _setting(
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
    mail: Annotated[Mail, NoDecode, BeforeValidator(parse_mail)] = _setting(
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
    trusted: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(parse_networks)] = _setting(
        (ip_network("127.0.0.0/8"), ip_network("::1")),
        "networks whose clients have full access without the token",
        "networks separated by commas, such as 127.0.0.0/8,::1, or none",
    )
    public: bool = _setting(False, "allow all clients to read without the token; changes still require it", "1 or 0")
    public_url: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_origins)] = _setting(
        (),
        "public origins of the console behind a reverse proxy",
        "https://HOST[:PORT] without a path, several separated by commas",
    )
    proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(parse_networks)] = _setting(
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
