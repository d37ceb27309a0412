"""Plausible new users, for trying out."""

import random
import unicodedata
from collections.abc import Sequence
from typing import Any

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
    """An address for a name, in ASCII."""
    plain = unicodedata.normalize("NFKD", name.replace("ø", "o").replace("Ø", "O")).encode("ascii", "ignore").decode()
    return ".".join("".join(c for c in part if c.isalnum()) for part in plain.lower().split()) + "@example.com"
