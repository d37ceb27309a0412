"""Validation of new users, the same over HTTP, on the command line and over Kafka.

It runs once, when a user is accepted. Later steps check only the rules of `messages.User`, so that stricter rules do
not stop sagas in flight.
"""

from collections.abc import Callable

from saga_app.saga.email_address import mailbox
from saga_app.saga.messages import BadMessage, Message
from saga_app.saga.text import hidden_character, is_visible


def checked_name(name: str) -> str:
    """The name. Raises `ValueError` if it has no visible character, or if a conversion has lost a character."""
    if not is_visible(_complete(name)):
        raise ValueError("has no visible character")
    return name


def checked_email(email: str) -> str:
    """The address. Raises `ValueError` with the reason if it is not a valid e-mail address."""
    mailbox(_complete(email))
    return email


def _complete(text: str) -> str:
    """The text. Raises `ValueError` if it contains U+FFFD, which replaces a character that could not be decoded."""
    if "\ufffd" in text:
        raise ValueError(
            "contains U+FFFD, which marks a character that was lost in a conversion; write the character itself"
        )
    return text


def checked_identifier(text: str) -> str:
    """A department or an id. Raises `ValueError` if it has no visible character, or an invisible one inside."""
    if hidden := hidden_character(checked_name(text)):
        raise ValueError(f"has an invisible character inside ({hidden}); remove it")
    return text


def check(request: Message) -> None:
    """Validate the new user of a request. Raises `BadMessage`, which names each invalid field and the problem."""
    user = request.user
    problems = [
        _problem("id", checked_identifier, request.id),
        _problem("user.name", checked_name, user.name),
        _problem("user.email", checked_email, user.email),
        _problem("user.department", checked_identifier, user.department),
    ]
    if any(problems):
        raise BadMessage("; ".join(filter(None, problems)))


def _problem(field: str, check: Callable[[str], str], text: str) -> str | None:
    try:
        check(text)
    except ValueError as error:
        return f"{field}: {error}"
    return None
