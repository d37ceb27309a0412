"""The rules for the text of new users, the same over HTTP, on the command line and over Kafka.

They apply once, where a user is accepted. Later steps check only types and lengths, so that stricter rules do not stop
sagas in flight.
"""

import re
from collections.abc import Iterator

from saga_app.saga.codec import BadMessage
from saga_app.saga.email_address import mailbox
from saga_app.saga.identifier import ID_RULE, MAX_ID_LENGTH, is_id
from saga_app.saga.messages import Message, User
from saga_app.saga.text import clean, clean_department, hidden_character, is_visible

#: Names appear in mail headers and on the page: no line breaks, control characters or characters that change text
#: direction.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
_is_one_line = re.compile(ONE_LINE.rstrip("$")).fullmatch

MAX_NAME_LENGTH, MAX_EMAIL_LENGTH, MAX_DEPARTMENT_LENGTH = 200, 254, 100


def checked_name(text: str) -> str:
    """The normalised name. Raises `ValueError` with the problem."""
    return _visible(_one_line(clean(text), MAX_NAME_LENGTH))


def checked_email(text: str) -> str:
    """The normalised address. Raises `ValueError` with the reason why it is not a valid e-mail address."""
    address = _complete(_of_length(clean(text), MAX_EMAIL_LENGTH))
    mailbox(address)
    return address


def checked_department(text: str) -> str:
    """The normalised department. Raises `ValueError` with the problem."""
    return checked_identifier(_one_line(clean_department(text), MAX_DEPARTMENT_LENGTH))


def checked_id(text: str) -> str:
    """The id without white space around it. Raises `ValueError` with the problem."""
    id = _of_length(text.strip(), MAX_ID_LENGTH)
    if not is_id(id):
        raise ValueError(ID_RULE)
    return checked_identifier(id)


def checked_identifier(text: str) -> str:
    """A department or an id. Raises `ValueError` if it has no visible character, or an invisible one inside."""
    if hidden := hidden_character(_visible(text)):
        raise ValueError(f"has an invisible character inside ({hidden}); remove it")
    return text


def _one_line(text: str, max_length: int) -> str:
    if not _is_one_line(_of_length(text, max_length)):
        raise ValueError("has a control character, such as a line break or one that changes text direction")
    return text


def _of_length(text: str, max_length: int) -> str:
    if not text:
        raise ValueError("is empty")
    if len(text) > max_length:
        raise ValueError(f"is longer than {max_length} characters")
    return text


def _visible(text: str) -> str:
    if not is_visible(_complete(text)):
        raise ValueError("has no visible character")
    return text


def _complete(text: str) -> str:
    """The text. Raises `ValueError` if it contains U+FFFD, which replaces a character that could not be decoded."""
    if "\ufffd" in text:
        raise ValueError(
            "contains U+FFFD, which marks a character that was lost in a conversion; write the character itself"
        )
    return text


def accepted_user(request: Message) -> User:
    """The new user of a request, with normalised text. Raises `BadMessage` with each invalid field and its problem."""
    given = request.user
    try:
        checked_identifier(request.id)
        return User(checked_name(given.name), checked_email(given.email), checked_department(given.department))
    except ValueError:
        raise BadMessage("; ".join(_problems(request))) from None


def _problems(request: Message) -> Iterator[str]:
    """Each invalid field with its problem."""
    user = request.user
    for field, text, rule in (
        ("id", request.id, checked_identifier),
        ("user.name", user.name, checked_name),
        ("user.email", user.email, checked_email),
        ("user.department", user.department, checked_department),
    ):
        try:
            rule(text)
        except ValueError as error:
            yield f"{field}: {error}"
