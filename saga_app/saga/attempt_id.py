"""Ids for repeated onboardings of one user: `ada`, then `ada~2`, `ada~3`, … Each id is a separate saga.

A separate id keeps the row, the timeline and the tombstones of the earlier saga, and a late message of the earlier saga
cannot affect the new one.
"""

import re

#: The maximum length of an id in characters; see `messages.Id`.
MAX_ID_LENGTH = 128

_NUMBERED = re.compile(r"(.*\w.*)~([2-9]|[1-9][0-9]{1,5})", re.DOTALL)


def split(id: str) -> tuple[str, int]:
    """Split an id into the base id and the number of the onboarding: `ada~2` is ("ada", 2), `ada` is ("ada", 1)."""
    found = _NUMBERED.fullmatch(id)
    return (found[1], int(found[2])) if found else (id, 1)


def with_number(own_id: str, number: int) -> str:
    """The id of onboarding `number`; the inverse of `split`. Raises `ValueError` if it exceeds `MAX_ID_LENGTH`."""
    id = own_id if number == 1 else f"{own_id}~{number}"
    if len(id) > MAX_ID_LENGTH:
        raise ValueError(f"with ~{number} the id has more than {MAX_ID_LENGTH} characters")
    return id
