"""What is asked of a new user: once, where the user enters, and the same by HTTP, on the command line and by Kafka.

Later steps take whatever one step has taken: they ask only for what `messages.User` asks for.
"""

from collections.abc import Callable

from saga_app.saga.email_address import mailbox
from saga_app.saga.messages import BadMessage, Message
from saga_app.saga.text import hidden_character, is_visible


def checked_name(name: str) -> str:
    """The name. Raises `ValueError` if it shows nothing, or if a conversion has lost a character of it."""
    if not is_visible(_complete(name)):
        raise ValueError("has no visible character")
    return name


def checked_email(email: str) -> str:
    """The address. Raises `ValueError` with the reason if no mail can be sent to it."""
    mailbox(_complete(email))
    return email


def _complete(text: str) -> str:
    """The text. Raises `ValueError` if U+FFFD stands in it for a character that could not be decoded."""
    if "\ufffd" in text:
        raise ValueError(
            "has U+FFFD, the mark of a character that was lost in a conversion; write the character itself"
        )
    return text


def checked_identifier(text: str) -> str:
    """A department or an id. Raises `ValueError` if it shows nothing, or if it is not the one that it seems to be."""
    if hidden := hidden_character(checked_name(text)):
        raise ValueError(f"has an invisible character inside ({hidden}); write it without")
    return text


def check(request: Message) -> None:
    """Refuse a user who cannot be onboarded. Raises `BadMessage`, which names each field and what is wrong with it."""
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
