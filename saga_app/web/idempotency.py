"""Idempotency of HTTP requests: a mark, carried by each saga, that identifies the request that started it.

The mark consists of digests of the Idempotency-Key and of the body. A key belongs to one body. The ids of new sagas are
derived from the key alone, so that another body with the same key finds the sagas of the first one; their mark shows
that the body differs.
"""

from hashlib import blake2b

from aiohttp import web

from saga_app.saga import json_text
from saga_app.web.new_users import NewUsers
from saga_app.web.problem import Problem

KEY_HEADER = "Idempotency-Key"

#: Crockford's Base32: sorts like the numbers, and has no letters that look alike.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def key_of(request: web.Request) -> str | None:
    """The Idempotency-Key, or None. Raises `Problem` 400 if it is invalid."""
    key = request.headers.get(KEY_HEADER)
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise Problem(400, f"{KEY_HEADER}: 1 to 255 characters of printable ASCII")
    return key


def id_from_key(key: str, index: int) -> str:
    """The id of the user at position `index` in the request with this Idempotency-Key."""
    digest = blake2b(f"{index}\n{key}".encode(), digest_size=13).digest()
    return base32(int.from_bytes(digest) >> 4, 20)


def mark_of(key: str, requested: NewUsers) -> str:
    """The mark of a request: `KEY.BODY`. JSON and CSV bodies with the same users have the same mark."""
    owner = blake2b(key.encode(), digest_size=10).digest()
    users = [[entry.name, entry.email, entry.department, entry.id, entry.again] for entry in requested.entries]
    body = blake2b(json_text.dumps([requested.many, users]), digest_size=10, key=owner).digest()
    return f"{base32(int.from_bytes(owner), 16)}.{base32(int.from_bytes(body), 16)}"


def key_part(mark: str) -> str:
    """The part of a mark up to and including the dot, with which all marks of the same key start."""
    return mark[: mark.index(".") + 1]


def base32(number: int, digits: int) -> str:
    """The lowest `digits` digits of a number in Base32."""
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(digits)))
