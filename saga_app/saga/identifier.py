"""The form of saga ids. An id is a record key, and part of a URL, where "." and ".." have a special meaning."""

import re
import unicodedata

MAX_ID_LENGTH = 128

#: For plain ids: at least one letter or digit. Letters of some scripts are followed by marks and joiners, see `is_id`.
ID_PATTERN = r"^[.:@+~-]*\w[\w.:@+~-]*$"
ID_RULE = "may only have letters, digits and . : @ + ~ _ -, and needs a letter or digit"

_is_plain = re.compile(ID_PATTERN.rstrip("$")).fullmatch
_PUNCTUATION = frozenset(".:@+~-")
_JOINERS = frozenset("\u200c\u200d")


def is_id(text: str) -> bool:
    """Whether the text has the form of a saga id."""
    if len(text) > MAX_ID_LENGTH:
        return False
    if text.replace("-", "").isalnum():  # nearly all ids; the pattern takes several times as long
        return True
    return _is_plain(text) is not None or (
        any(map(_is_letter, text)) and all(_is_letter(c) or _is_mark(c) or c in _PUNCTUATION for c in text)
    )


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M" or character in _JOINERS
