"""Detects the encoding of a text file: declared, marked (BOM), or certain. An uncertain encoding is refused.

A file without a byte order mark or a declared charset is decoded as UTF-8; as UTF-16 or UTF-32 if its NUL bytes show
it; or as Windows-1252 if no other common 8-bit encoding gives a different plausible text.
"""

import codecs
import re
import unicodedata
from itertools import combinations_with_replacement, pairwise
from typing import NamedTuple


class DecodedText(NamedTuple):
    """The text without its byte order mark, and the name of its encoding."""

    text: str
    encoding: str


class UnknownCharset(ValueError):
    """The declared charset is not supported."""


class Undecodable(ValueError):
    """The bytes fit no encoding, or several; `line` (from 1) is the line of the first such byte."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


#: UTF-32 before UTF-16, because the mark of UTF-32-LE begins with that of UTF-16-LE.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

#: The encoding by the positions of NUL bytes in the first four bytes, for a text that begins with ASCII characters.
_WIDE = {(1, 3): "utf-16-le", (0, 2): "utf-16-be", (1, 2, 3): "utf-32-le", (0, 1, 2): "utf-32-be"}

#: The supported charset parameters, as Python codec names. ISO-8859-1 means Windows-1252, as in browsers.
_SUPPORTED = {
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "ascii",
    "iso8859-1", *(f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)),
    *(f"cp125{page}" for page in range(9)), "cp437", "cp850", "cp852", "cp858", "cp866", "cp874", "mac-roman",
    "koi8-r", "koi8-u", "cp932", "shift_jis", "euc_jp", "gbk", "gb2312", "gb18030", "big5", "cp949", "euc_kr",
}  # fmt: skip
_ALIASES = {"iso8859-1": "cp1252", "utf-8-sig": "utf-8"}

_REMEDY = "save the file as UTF-8 (in Excel: 'CSV UTF-8'), or declare its charset: Content-Type: text/csv; charset=…"

#: The non-ASCII letters of languages with a Latin script.
_WESTERN = (
    "àâæçéèêëîïôœùûüÿ",  # French
    "äöüßé",  # German
    "áéíñóúü",  # Spanish
    "àèéìíîòóùú",  # Italian
    "àçèéíïòóúü",  # Catalan
    "áâãàçéêíóôõúü",  # Portuguese
    "åäöæøé",  # Danish, Norwegian, Swedish, Finnish
    "áéíóúýðþæö",  # Icelandic
    "áéëïíóöüè",  # Dutch
    "äöõü",  # Estonian
)
_CENTRAL = (
    "ąćęłńóśźż",  # Polish
    "áäčďéěíĺľňóôŕřšťúůýž",  # Czech and Slovak
    "áéíóöőúüű",  # Hungarian
    "čćđšž",  # Croatian, Slovene
    "ăâîşţ",  # Romanian
    "äöüßé",  # German
)
_BALTIC = ("ąčęėįšųūž", "āčēģīķļņšūž", "äöõüšž")
_TURKISH = ("âçğîıöşüûİ",)

#: The candidate encodings of files that are not Unicode, each with the alphabets of the languages that use it; without
#: alphabets, the encoding belongs to one script. For a DOS code page only ß matters: its other letters are not letters
#: in Windows-1252, or are unlikely ones.
_CANDIDATES = {
    "cp1252": _WESTERN,
    "mac-roman": _WESTERN,
    "cp1250": _CENTRAL,
    "iso8859-2": _CENTRAL,
    "cp1254": _TURKISH,
    "cp1257": _BALTIC,
    "cp850": ("äöüßé",),
    **dict.fromkeys(("cp1251", "koi8-r", "iso8859-5", "cp1253", "iso8859-7", "cp1255", "cp1256"), ()),
    **dict.fromkeys(("cp932", "gbk", "big5", "cp949"), ()),
}
_SCRIPTS = ("CYRILLIC", "GREEK", "HEBREW", "ARABIC", "CJK", "HIRAGANA", "KATAKANA", "HANGUL")

#: A run of ASCII letters and non-ASCII characters.
_WORD = re.compile(r"[^\x00-\x40\x5b-\x60\x7b-\x7f]+")

#: A run between separators that has a non-ASCII byte. No second byte of any candidate encoding is below 0x40.
_DOUBTFUL = re.compile(rb"[^\x00-\x3f]*[\x80-\xff][^\x00-\x3f]*")

#: An implausible ß: one that does not follow a vowel.
_ODD = re.compile(r"(?i:(?<![aeiouyäöü])ß)")


def decode_text(body: bytes, charset: str | None = None) -> DecodedText:
    """Decode a file. `charset`: declared by the sender; a byte order mark takes precedence.

    Raises `UnknownCharset` and `Undecodable`.
    """
    declared = _declared(charset) if charset else None
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return _strict(body[len(mark) :], encoding, "as its byte order mark says")
    if declared in ("utf-16", "utf-32"):  # without a mark: little-endian, unless the NUL bytes show otherwise
        wide = _wide(body) or ""
        declared = wide if wide.startswith(declared) else f"{declared}-le"
    if declared:
        return _strict(body, declared, "as its sender has declared")
    if nuls := _wide(body):
        return _strict(body, nuls, "as its NUL bytes say")
    try:
        return DecodedText(body.decode(), "utf-8")
    except UnicodeDecodeError as error:
        return DecodedText(_western(body, error.start), _label("cp1252"))


def _declared(charset: str) -> str:
    try:
        name = codecs.lookup(charset.strip()).name
    except (LookupError, ValueError):
        name = ""
    if name not in _SUPPORTED:
        raise UnknownCharset(f"the charset {charset[:40]!r} is not supported; send UTF-8")
    return _ALIASES.get(name, name)


def _strict(body: bytes, encoding: str, because: str) -> DecodedText:
    try:
        return DecodedText(body.decode(encoding), _label(encoding))
    except UnicodeDecodeError as error:
        line = _line_after(body[: error.start].decode(encoding, "replace"))
        found = f"byte 0x{body[error.start]:02X} at {error.start} is not {_label(encoding)}, {because}"
        raise Undecodable(line, f"{found}; {_REMEDY}") from None


def _label(encoding: str) -> str:
    """The IANA name of an encoding."""
    return re.sub("^cp(?=125)", "windows-", encoding.replace("iso8859", "iso-8859"))


def _wide(body: bytes) -> str | None:
    """The UTF-16 or UTF-32 encoding, if the NUL bytes among the first four bytes show it; otherwise None."""
    nuls = tuple(place for place, byte in enumerate(body[:4]) if byte == 0)
    return _WIDE.get(nuls)


def _western(body: bytes, first: int) -> str:
    """The text if it is certainly Windows-1252. `first`: the index of the first byte that is not UTF-8."""
    doubtful = b"\n".join(sorted(set(_DOUBTFUL.findall(body))))
    readings = {name: text for name in _CANDIDATES if (text := _plausible(doubtful, name)) is not None}
    if "cp1252" in readings and len(set(readings.values())) == 1:
        return body.decode("cp1252")
    line = _line_after(body[:first].decode("latin-1"))
    could_be = f" (it could be {', '.join(map(_label, readings))})" if readings else ""
    found = f"byte 0x{body[first]:02X} at {first} is not UTF-8, and the encoding is not certain{could_be}"
    raise Undecodable(line, f"{found}; {_REMEDY}")


def _plausible(doubtful: bytes, encoding: str) -> str | None:
    """The text decoded with this encoding, if every non-ASCII word is plausible in it; otherwise None."""
    try:
        text = doubtful.decode(encoding)
    except UnicodeDecodeError:
        return None
    words = {word for word in _WORD.findall(text) if not word.isascii()} - {"–", "—"}
    parts = {part for word in words for part in re.split("(?<=.)’(?=.)", word)}
    return text if _are_words({part for part in parts if not part.isascii()}, encoding) else None


def _are_words(words: set[str], encoding: str) -> bool:
    """Whether the words are plausible in an encoding: each word fits one of its alphabets.

    A Western file may mix any number of its languages, others at most two, because otherwise every French file could
    be a Central European one. For an encoding without alphabets, all letters must belong to one script.
    """
    if any(_ODD.search(word) or _has_capital_within(word) for word in words):
        return False
    alphabets = [frozenset(letters + letters.upper()) for letters in _CANDIDATES[encoding]]
    if not alphabets:
        return len({_script(letter) for word in words for letter in word}) <= 1
    letters = [{letter for letter in word if not letter.isascii()} for word in words]
    explained = [{i for i, some in enumerate(letters) if some <= alphabet} for alphabet in alphabets]
    if _CANDIDATES[encoding] is _WESTERN:
        return len(set().union(*explained)) == len(letters)
    return any(len(one | other) == len(letters) for one, other in combinations_with_replacement(explained, 2))


def _has_capital_within(word: str) -> bool:
    return any(one.islower() and two.isupper() and not (one + two).isascii() for one, two in pairwise(word))


def _script(letter: str) -> str:
    """The script of a letter, with all Japanese ones as one; the letter itself if its script is unknown."""
    name = unicodedata.name(letter, "")
    script = next((script for script in _SCRIPTS if name.startswith(script)), letter)
    return "CJK" if script in ("HIRAGANA", "KATAKANA") else script


def _line_after(text: str) -> int:
    return len(re.findall(r"\r\n|\r|\n", text)) + 1
