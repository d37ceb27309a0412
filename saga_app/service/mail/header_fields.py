"""Header fields of a mail, written by us: the email package folds a text between two encoded words and loses the space
there, and encodes an address that is longer than a line.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from email.policy import Policy

#: Bytes of text in an encoded word: 64 characters with base64 and "=?utf-8?b?…?=", so that "Subject: " and the first
#: word fit into the 76 characters of RFC 2047, section 2.
WORD_BYTES = 39
#: Characters in a line (RFC 5322, section 2.1.1).
LINE = 78

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class Header(str):
    """A header's value, with what stands on the wire for it. The email package takes it as it is."""

    name: str
    wire: str

    def __new__(cls, name: str, value: str, wire: str) -> "Header":
        """`wire`: without the name and the last line break; continued lines begin with a space."""
        made = super().__new__(cls, value)
        made.name, made.wire = name, wire
        return made

    def fold(self, *, policy: Policy) -> str:
        """The whole field; called by the email package."""
        lines = [f"{self.name}: {self.wire.replace(chr(10), policy.linesep)}", ""]
        return policy.linesep.join(lines)


def subject(text: str) -> Header:
    """A subject that every reader decodes to this text. A run of control characters becomes a space."""
    text = without_controls(text)
    if _is_plain(text):
        return Header("Subject", text, text)
    return Header("Subject", text, "\n ".join(_encoded_words(text)))


def address(name: str, wire: str) -> Header:
    """An address alone, on one line: an address is shorter than the longest line that SMTP allows."""
    return Header(name, wire, wire)


def without_controls(text: str) -> str:
    """One line of text that can be encoded: control characters and lone surrogates become spaces."""
    return _CONTROLS.sub(" ", text)


def _is_plain(text: str) -> bool:
    """Whether it needs no encoding: printable ASCII on one line that no reader strips or decodes."""
    return text.isascii() and text == text.strip() and "=?" not in text and len(f"Subject: {text}") <= LINE


def _encoded_words(text: str) -> Iterator[str]:
    """RFC 2047, section 2, in base64; a character is never divided, and white space between words does not count."""
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
