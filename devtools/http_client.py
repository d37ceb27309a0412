"""JSON over HTTP for tests and benchmarks, with the standard library only."""

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

#: What `ask` raises when the server is down, starting or too slow.
UNREACHABLE = (OSError, HTTPException)


def ask(url: str, body: Any = None, timeout_s: float = 30.0, idempotency_key: str = "") -> tuple[int, Any]:
    """Send a GET request, or a POST of `body` as JSON.

    Returns the status code and the decoded body, for error answers too. Raises one of `UNREACHABLE` when the server
    does not answer within `timeout_s` seconds.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": idempotency_key} if idempotency_key else {})
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
