"""Plausible new users, for trying out."""

import random
from collections.abc import Sequence
from typing import Any

from saga_app.saga.email_address import LOCAL_MAX_BYTES
from saga_app.saga.text import fold

FIRST = """
    Ada Alan Aisha Ana Anil Barbara Ben Chen Chidi Clara Dmitri Edsger Elif Emeka Fatima Frances Grace Hana
    Hedy Ida Ingrid Ivan Jamal Jean Joan João Karen Katherine Kofi Lars Leslie Linus Lotfi Lucía Margaret Mei
    Mina Nadia Niklaus Olga Omar Priya Radia Ravi Rosa Sofia Tariq Tim Wanjiru Yuki
""".split()
LAST = """
    Abe Adeyemi Allen Bauer Berg Cerf Chandra Costa Diaz Eriksen Fischer Floyd García Goldberg Hamilton Haddad
    Hopper Ito Jensen Johnson Kahn Kamau Keller Kowalski Lamarr Liskov Lovelace Martin Mensah Moreau Nakamura
    Novak Okafor Olsen Patel Perlman Petrov Rossi Sato Schmidt Silva Singh Sørensen Tanaka Turing Vogel Wang
    Weber Wirth Zadeh
""".split()


def person(departments: Sequence[str], dice: random.Random | None = None) -> dict[str, Any]:
    """A name, an e-mail address that leads nowhere (RFC 2606), and one of the departments."""
    dice = dice or random.Random()
    name = f"{dice.choice(FIRST)} {dice.choice(LAST)}"
    return {"name": name, "email": address(name), "department": dice.choice(departments)}


def address(name: str) -> str:
    """An address for a name, in ASCII; of a name in another script only what has a plain form is in it."""
    words = ("".join(c for c in word if c.isascii() and c.isalnum()) for word in fold(name).split())
    local = ".".join(word for word in words if word)[:LOCAL_MAX_BYTES].rstrip(".")
    return f"{local or 'new.user'}@example.com"
