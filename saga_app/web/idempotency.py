"""Which HTTP request started a saga, as a short mark that travels with the saga: digests of its key and its body.

An Idempotency-Key belongs to one body. The ids of new sagas follow from the key alone, so that another body with the
same key meets the sagas of the first; the mark says whether it is the same body.
"""

from hashlib import blake2b

import orjson
from aiohttp import web

from saga_app.web.new_users import NewUsers
from saga_app.web.problem import Problem

KEY_HEADER = "Idempotency-Key"

#: Crockford's: sorts as the numbers do, and no two letters look alike.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def key_of(request: web.Request) -> str | None:
    """The Idempotency-Key. Raises `Problem`."""
    key = request.headers.get(KEY_HEADER)
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise Problem(400, f"{KEY_HEADER}: 1 to 255 characters of printable ASCII")
    return key


def id_from_key(key: str, index: int) -> str:
    """The id of the user at this place of a request with this Idempotency-Key."""
    digest = blake2b(f"{index}\n{key}".encode(), digest_size=13).digest()
    return base32(int.from_bytes(digest) >> 4, 20)


def mark_of(key: str, asked: NewUsers) -> str:
    """The mark of a request: `KEY.BODY`. The body counts by its meaning, whether it came as JSON or as CSV."""
    owner = blake2b(key.encode(), digest_size=10).digest()
    users = [[entry.name, entry.email, entry.department, entry.id, entry.again] for entry in asked.entries]
    body = blake2b(orjson.dumps([asked.many, users]), digest_size=10, key=owner).digest()
    return f"{base32(int.from_bytes(owner), 16)}.{base32(int.from_bytes(body), 16)}"


def key_part(mark: str) -> str:
    """The digest of the key in a mark, with the dot: all marks of this key start with it."""
    return mark[: mark.index(".") + 1]


def base32(number: int, digits: int) -> str:
    """So many of the lowest digits of a number."""
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(digits)))
