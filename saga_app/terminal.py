"""Text on its way to a terminal. Anybody may have written what is in it: nothing in it may control the terminal.

Everything that the command line, the supervisor and the console form of the logs print goes through `visible`.
"""

import json
import re
import sys
import unicodedata
from typing import Any

import click

#: Join letters and emoji of many scripts, and do nothing else.
_JOINERS = "\u200c\u200d"

#: What JSON leaves as it is, and a terminal does not.
_UNSAFE_IN_JSON = re.compile(
    r"[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def visible(text: str, keep: str = "") -> str:
    r"""The text with everything that is not a letter, sign or space as an escape: `\x1b`, `\u202e`, `\n`.

    That covers control characters (C0, C1, DEL), bidirectional and other invisible controls, line separators and lone
    surrogates. `keep`: characters that are left as they are, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(each if _is_harmless(each) or each in keep else repr(each)[1:-1] for each in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def echo(text: str, err: bool = False) -> None:
    """Print lines of our own, with values in them that may be anybody's."""
    click.echo(visible(text, keep="\n\t"), err=err)


def echo_json(value: Any) -> None:
    """Print a value for programs, and for people who look at it."""
    click.echo(to_json(value))


def to_json(value: Any) -> str:
    """JSON in which nothing controls a terminal, and what the output cannot encode is escaped: it means the same."""
    readable = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not readable)
    return _UNSAFE_IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], text)
