"""The ids of a user's further onboardings: `ada`, then `ada~2`, `ada~3`, … Each is a saga of its own.

So nothing of the earlier saga is overwritten: its row, its timeline and its tombstones stay, and no late message of it
can reach the new one.
"""

import re

#: The longest id (characters); see `messages.Id`.
LONGEST = 128

_NUMBERED = re.compile(r"(.*\w.*)~([2-9]|[1-9][0-9]{1,5})", re.DOTALL)


def split(id: str) -> tuple[str, int]:
    """The user's own id and the number of the onboarding: `ada~2` is ("ada", 2), `ada` is ("ada", 1)."""
    found = _NUMBERED.fullmatch(id)
    return (found[1], int(found[2])) if found else (id, 1)


def numbered(own_id: str, number: int) -> str:
    """The id of this onboarding; `split` gives both back. Raises ValueError if it would be longer than an id may be."""
    id = own_id if number == 1 else f"{own_id}~{number}"
    if len(id) > LONGEST:
        raise ValueError(f"with ~{number} the id has more than {LONGEST} characters")
    return id
