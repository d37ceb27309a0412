"""CloudEvents 1.0 in structured mode, which a client may send instead of a plain request.

https://github.com/cloudevents/spec: Kafka protocol binding, section 3, and JSON event format.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from saga_app.saga import json_text
from saga_app.saga.json_text import NotJson

JSON, STRUCTURED = "application/json", "application/cloudevents+json"

#: Attributes that every event must have, as non-empty strings.
REQUIRED = ("id", "source", "specversion", "type")

#: The record header with the media type of the value. Kafka header names are case-sensitive, but some clients vary
#: case.
_CONTENT_TYPE = "content-type"


class NotReadable(ValueError):
    """The event is invalid or in an unsupported format; the text says why."""


def content_type(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The content type of a record's value, or None. If there are several, the last one wins, as in Kafka's clients."""
    found = None
    for name, value in headers:
        if len(name) == 12 and name.lower() == _CONTENT_TYPE and value:
            found = value
    return None if found is None else found.decode("latin-1")


def request_in(kind: str, value: bytes | None) -> bytes | None:
    """Extract the request from a record value with content type `kind`.

    A value that is not a CloudEvent is returned unchanged and unchecked. Raises `NotReadable` for a CloudEvent that is
    invalid or in an unsupported format.
    """
    media_type, charset = _parts(kind)
    if not media_type.startswith("application/cloudevents"):
        return value
    if media_type != STRUCTURED:
        raise NotReadable(f"{_shown(media_type)} is not supported; send {JSON} or {STRUCTURED}")
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise NotReadable(f"{STRUCTURED} in charset {_shown(charset)} is not supported; send UTF-8")
    return _data(_event(value))


def is_event(value: bytes | None) -> bool:
    """Whether a value looks like an event in structured mode."""
    try:
        found = json_text.loads(value or b"")
    except NotJson:
        return False
    return isinstance(found, dict) and "specversion" in found


def _parts(kind: str) -> tuple[str, str]:
    """Media type and charset, in lower case."""
    media_type, *parameters = (part.strip() for part in kind.lower().split(";"))
    named = dict(parameter.partition("=")[::2] for parameter in parameters)
    return media_type, named.get("charset", "utf-8").strip('"')


def _event(value: bytes | None) -> dict[str, Any]:
    try:
        event = json_text.loads(value or b"")
    except NotJson as error:
        raise NotReadable(f"the CloudEvent is not JSON: {error}") from None
    if not isinstance(event, dict):
        raise NotReadable("the CloudEvent is not a JSON object")
    if wrong := [name for name in REQUIRED if not (isinstance(event.get(name), str) and event[name])]:
        raise NotReadable(f"the CloudEvent lacks {', '.join(wrong)}")
    if event["specversion"] != "1.0":
        raise NotReadable(f"the CloudEvent has specversion {_shown(event['specversion'])}; send 1.0")
    return event


def _data(event: dict[str, Any]) -> bytes:
    kind = event.get("datacontenttype") or JSON
    if not is_json(kind):
        raise NotReadable(f"the CloudEvent's datacontenttype {_shown(kind)} is not supported; send {JSON}")
    if (event.get("data") is None) == (event.get("data_base64") is None):
        raise NotReadable("the CloudEvent needs either data or data_base64")
    if event.get("data") is not None:
        return json_text.dumps(event["data"])
    try:
        return base64.b64decode(event["data_base64"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise NotReadable("the CloudEvent's data_base64 is not base64") from None


def is_json(kind: Any) -> bool:
    """Whether a content type means JSON: application/json, text/json, or any with the suffix +json."""
    media_type = _parts(kind)[0] if isinstance(kind, str) else ""
    return media_type in (JSON, "text/json") or (media_type.endswith("+json") and "cloudevents" not in media_type)


def _shown(text: Any) -> str:
    """The text for an error message: printable ASCII, at most 60 characters."""
    return ascii(text)[1:-1][:60] if isinstance(text, str) else "that is not a string"
