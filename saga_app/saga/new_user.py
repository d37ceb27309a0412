"""What is asked of a new user: once, where the user enters, and the same by HTTP, on the command line and by Kafka.

Later steps take whatever one step has taken: they ask only for what `messages.User` asks for.
"""

from collections.abc import Callable

from saga_app.saga.address import mailbox
from saga_app.saga.messages import BadMessage, User
from saga_app.saga.text import hidden_character, is_visible


def checked_name(name: str) -> str:
    """The name. Raises `ValueError` if it shows nothing."""
    if not is_visible(name):
        raise ValueError("has no visible character")
    return name


def checked_email(email: str) -> str:
    """The address. Raises `ValueError` with the reason if no mail can be sent to it."""
    mailbox(email)
    return email


def checked_department(department: str) -> str:
    """The department. Raises `ValueError` if it shows nothing, or if it is not the one that it seems to be."""
    if hidden := hidden_character(checked_name(department)):
        raise ValueError(f"has an invisible character inside ({hidden}); write it without")
    return department


_CHECKS: dict[str, Callable[[str], str]] = {
    "name": checked_name,
    "email": checked_email,
    "department": checked_department,
}


def check(user: User) -> None:
    """Refuse a user who cannot be onboarded. Raises `BadMessage`, which names each field and what is wrong with it."""
    problems = [f"user.{field}: {problem}" for field in _CHECKS if (problem := _problem(user, field))]
    if problems:
        raise BadMessage("; ".join(problems))


def _problem(user: User, field: str) -> str | None:
    try:
        _CHECKS[field](getattr(user, field))
    except ValueError as error:
        return str(error)
    return None
