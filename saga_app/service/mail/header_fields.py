"""Encodes header fields of a mail, in place of the email package.

The email package loses the space between two encoded words when it folds a text, and encodes an address that is longer
than a line.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from email.policy import Policy

#: Bytes of text per encoded word. With base64 and "=?utf-8?b?…?=" a word has 64 characters, so that "Subject: " and the
#: first word fit into the 76 characters of RFC 2047, section 2.
WORD_BYTES = 39
#: The maximum line length in characters (RFC 5322, section 2.1.1).
MAX_LINE_LENGTH = 78

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class Header(str):
    """A header value together with its encoded form, which the email package writes unchanged."""

    name: str
    wire: str

    def __new__(cls, name: str, value: str, wire: str) -> "Header":
        """`wire`: the encoded value without the name and the last line break; continuation lines begin with a space."""
        made = super().__new__(cls, value)
        made.name, made.wire = name, wire
        return made

    def fold(self, *, policy: Policy) -> str:
        """The whole field; called by the email package."""
        lines = [f"{self.name}: {self.wire.replace(chr(10), policy.linesep)}", ""]
        return policy.linesep.join(lines)


def subject(text: str) -> Header:
    """The Subject field for a text. A run of control characters becomes one space."""
    text = without_controls(text)
    if _is_plain(text):
        return Header("Subject", text, text)
    return Header("Subject", text, "\n ".join(_encoded_words(text)))


def address(name: str, wire: str) -> Header:
    """A field with one address on one line, because an address is shorter than the longest line that SMTP allows."""
    return Header(name, wire, wire)


def without_controls(text: str) -> str:
    """The text with each run of control characters and lone surrogates replaced by a space."""
    return _CONTROLS.sub(" ", text)


def _is_plain(text: str) -> bool:
    """Whether a subject needs no encoding: ASCII on one line that mail programs neither strip nor decode."""
    return text.isascii() and text == text.strip() and "=?" not in text and len(f"Subject: {text}") <= MAX_LINE_LENGTH


def _encoded_words(text: str) -> Iterator[str]:
    """Encoded words (RFC 2047, section 2) in base64. A character is not split across words."""
    word = b""
    for character in text:
        encoded = character.encode()
        if len(word) + len(encoded) > WORD_BYTES:
            yield _encoded_word(word)
            word = b""
        word += encoded
    yield _encoded_word(word)


def _encoded_word(text: bytes) -> str:
    return f"=?utf-8?b?{b64encode(text).decode()}?="
