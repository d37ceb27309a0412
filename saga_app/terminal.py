"""Safe terminal output. Text from outside may contain control sequences; these must not reach the terminal.

All output of the command line, the supervisor and the console log format passes through `visible`.
"""

import json
import re
import sys
import unicodedata
from typing import Any

import click

#: Zero-width joiners, which many scripts and emoji need; harmless.
_JOINERS = "\u200c\u200d"

#: Characters that JSON does not escape but that can affect a terminal.
_UNSAFE_IN_JSON = re.compile(
    r"[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def visible(text: str, keep: str = "") -> str:
    r"""The text with non-printable characters escaped: `\x1b`, `\u202e`, `\n`.

    These are control characters (C0, C1, DEL), bidirectional and other invisible controls, line separators and lone
    surrogates. `keep`: characters that are not escaped, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(each if _is_harmless(each) or each in keep else repr(each)[1:-1] for each in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def echo(text: str, err: bool = False) -> None:
    """Print text that may contain untrusted values; line breaks and tabs are kept."""
    click.echo(visible(text, keep="\n\t"), err=err)


def echo_json(value: Any) -> None:
    """Print a value as JSON that is safe to display on a terminal."""
    click.echo(to_json(value))


def to_json(value: Any) -> str:
    """Equivalent JSON in which control characters, and characters that stdout cannot encode, are escaped."""
    readable = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not readable)
    return _UNSAFE_IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], text)
