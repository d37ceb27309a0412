"""Requests to the console's API without the page, and sample users to send."""

import json
from typing import Any
from urllib.request import Request, urlopen

from devtools.system import System


def get(system: System, path: str) -> Any:
    """The decoded response to a GET request. Raises HTTPError for error statuses."""
    with urlopen(f"{system.url}{path}", timeout=10) as answer:
        return json.load(answer)


def post(system: System, path: str, body: Any) -> Any:
    """The decoded response to a POST of `body` as JSON. Raises HTTPError for error statuses."""
    request = Request(f"{system.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def short_user(n: int) -> dict[str, str]:
    """A user with a short name and address."""
    return {"name": f"Jo {n}", "email": f"jo{n}@example.com", "department": ("Sales", "People", "Support")[n % 3]}


def long_user(n: int) -> dict[str, str]:
    """A user with the longest name, address and id that the console accepts."""
    return {
        "name": ("Maximiliane Featherstonehaugh-Cholmondeley " * 5)[:196] + f"{n:04}",
        "email": f"{'m' * 60}{n:04}@{'a-subsidiary.' * 12}example.com",
        "department": "Engineering",
        "id": f"{n:04}-" + "long-id-of-another-system." * 2,
    }
