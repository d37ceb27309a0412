"""Parses and normalises the values of settings. The parsers raise `ValueError` for an invalid value."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from pydantic import SecretStr

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


def parse_lag(value: Any) -> Lag:
    if isinstance(value, tuple):
        return Lag(*value)
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)(?:-(\d+(?:\.\d+)?|\.\d+))?", str(value).strip())
    if found is None:
        raise ValueError
    lag = Lag(float(found[1]), float(found[2] or found[1]))
    if lag.least > lag.most:
        raise ValueError
    return lag


def parse_mail(value: Any) -> Mail:
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


def parse_networks(value: Any) -> tuple[Network, ...]:
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


def parse_origins(value: Any) -> tuple[str, ...]:
    """Normalised origins, so that `https://saga.example.com/` and `HTTPS://SAGA.example.com:443` compare equal."""
    if not isinstance(value, str):
        return tuple(value)
    origins = [origin_of(part.strip().rstrip("/")) for part in value.split(",") if part.strip()]
    if not all(origins):
        raise ValueError
    return tuple(origin for origin in origins if origin)


def parse_broker(value: Any) -> str:
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


def parse_bind(value: Any) -> str:
    return str(ip_address("127.0.0.1" if value == "localhost" else value))


def parse_index(value: Any) -> str:
    if not re.match(r"(sqlite(\+\w+)?:///[^?]|postgresql(\+\w+)?://\S)", str(value)):
        raise ValueError
    return str(value)
