"""Normalisation of text that people type: visibility, clean form, and folded form for search and sorting.

Every function is pure and accepts any string. `clean`, `clean_department` and `fold` are idempotent.
"""

import re
import unicodedata

#: Invisible characters: white space, control characters, Default_Ignorable_Code_Point of Unicode 16, format
#: characters without a glyph, and the letters and symbols that are blank. Listed here rather than taken from
#: `unicodedata`, so that services on different versions of Python give the same answer.
_INVISIBLE = (
    r"\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\U0001bca0-\U0001bca3\U0001d159"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_IS_INVISIBLE = re.compile(f"[{_INVISIBLE}]")
_LEADING = re.compile(f"[{_INVISIBLE}]+")
#: Spaces that are replaced. Line breaks and tabs are not among them: they are refused.
_SPACES = re.compile(r"[ \xa0\u1680\u2000-\u200a\u202f\u205f\u3000]+")

_JOINERS = frozenset("\u200c\u200d")
_VARIATIONS = re.compile(r"[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_TAGS = re.compile(r"[\U000e0020-\U000e007f]")
#: Canonical combining class of the signs that suppress a vowel in Indic scripts.
_VIRAMA = 9

#: Letters without a decomposition in Unicode that people search for by a plain letter, and variants of punctuation.
_PLAIN = str.maketrans(
    {
        **dict(zip("łøđħŧıɨʉƚȼɇɉɍɏǥⱥɫə", "lodhtiiulcejrygale", strict=True)),
        **{"æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ŋ": "n", "ĸ": "k"},
        **dict.fromkeys("‘’‛ʹʻʼʽ´`′", "'"),
        **dict.fromkeys("“”„‟″", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
    }
)


def clean(text: str) -> str:
    """Strip invisible characters from both ends of a name or an address. Text without visible characters is unchanged.

    A trailing character that changes how the one before it looks is kept: a joiner after a virama, the variation
    selector of an emoji or an ideograph, the tags of a flag.
    """
    if text.isascii():
        return text.strip(_ASCII_INVISIBLE) or text
    leading = _LEADING.match(text)
    start, end = leading.end() if leading else 0, len(text)
    while end > start and _IS_INVISIBLE.match(text, end - 1) and not _shapes(text, end - 1):
        end -= 1
    return text[start:end] or text


_ASCII_INVISIBLE = "".join(map(chr, (*range(0x21), 0x7F)))


def clean_department(text: str) -> str:
    """Normalise a department: apply NFKC (such as full-width letters), collapse spaces, strip invisible characters."""
    if text.isascii():
        return clean(_SPACES.sub(" ", text) if "  " in text else text)
    return clean(_SPACES.sub(" ", unicodedata.normalize("NFKC", text)))


def is_visible(text: str) -> bool:
    """Whether the text has a visible letter, digit, punctuation mark or symbol. A combining mark does not count."""
    if text.isascii() and text.isprintable():
        return bool(text) and not text.isspace()
    return any(unicodedata.category(c)[0] in "LNPS" and not _IS_INVISIBLE.match(c) for c in text)


def hidden_character(text: str) -> str | None:
    """The Unicode name of the first unexpected invisible character, or None.

    Expected are spaces, joiners where a script or an emoji uses them, and variation selectors after a suitable
    character.
    """
    if text.isascii() and text.isprintable():
        return None
    for index, character in enumerate(text):
        if character != " " and _IS_INVISIBLE.match(character) and not _is_explained(text, index):
            return unicodedata.name(character, f"U+{ord(character):04X}")
    return None


def fold(text: str) -> str:
    """Fold text for search and sorting: ignores case, accents, compatibility forms and differences in white space.

    `fold("García")` equals `fold("GARCI\u0301A")`. Vowel signs that count as letters in their script are kept.
    """
    if text.isascii():
        return _spaced(text.lower().translate(_PLAIN))
    while True:
        folded = _folded(text)
        if folded == text:
            return folded
        text = folded


def _folded(text: str) -> str:
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = "".join(c for c in apart if not _is_ignored(c)).translate(_PLAIN)
    return _spaced(unicodedata.normalize("NFC", kept))


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _is_ignored(character: str) -> bool:
    """Whether search ignores this character: a combining mark, or an invisible character.

    Ignored marks, by canonical combining class: overlays, Hebrew and Arabic points, and marks above, below and around a
    letter. Not ignored: the voicing marks of kana, viramas, and the vowels of Indic scripts.
    """
    marked = unicodedata.combining(character)
    if marked:
        return marked == 1 or 10 <= marked <= 36 or marked >= 200
    return not character.isspace() and _FORMAT.match(character) is not None


#: Invisible characters except control characters, which only occur by mistake.
_FORMAT = re.compile(f"(?![\x00-\x1f\x7f-\x9f])[{_INVISIBLE}]")


def _shapes(text: str, index: int) -> bool:
    """Whether the invisible character at this index changes how the one before it looks."""
    if index == 0:
        return False
    character, before = text[index], text[index - 1]
    if character in _JOINERS:
        return unicodedata.combining(before) == _VIRAMA
    if _VARIATIONS.match(character):
        return unicodedata.category(before) in ("So", "Sk", "Lo", "Lm") and not _IS_INVISIBLE.match(before)
    return _TAGS.match(character) is not None and _is_after_emoji(text, index)


def _is_after_emoji(text: str, index: int) -> bool:
    """Whether an emoji precedes this index, with only tag characters in between."""
    while index and _TAGS.match(text, index - 1):
        index -= 1
    before = text[index - 1 : index]
    return unicodedata.category(before or " ") == "So" and not _IS_INVISIBLE.match(before)


def _is_explained(text: str, index: int) -> bool:
    if _shapes(text, index):
        return True
    if text[index] not in _JOINERS or index in (0, len(text) - 1):
        return False
    before, after = text[index - 1], text[index + 1]
    cursive = unicodedata.bidirectional(before) == "AL" or unicodedata.combining(after) == _VIRAMA
    return cursive or unicodedata.category(before) in ("So", "Sk") or _VARIATIONS.match(before) is not None
