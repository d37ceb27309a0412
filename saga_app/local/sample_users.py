"""Generates sample users for trial use."""

import random
from collections.abc import Sequence
from typing import Any

from saga_app.saga.email_address import LOCAL_MAX_BYTES
from saga_app.saga.text import fold

FIRST_NAMES = """
    Ada Alan Aisha Ana Anil Barbara Ben Chen Chidi Clara Dmitri Edsger Elif Emeka Fatima Frances Grace Hana
    Hedy Ida Ingrid Ivan Jamal Jean Joan João Karen Katherine Kofi Lars Leslie Linus Lotfi Lucía Margaret Mei
    Mina Nadia Niklaus Olga Omar Priya Radia Ravi Rosa Sofia Tariq Tim Wanjiru Yuki
""".split()
LAST_NAMES = """
    Abe Adeyemi Allen Bauer Berg Cerf Chandra Costa Diaz Eriksen Fischer Floyd García Goldberg Hamilton Haddad
    Hopper Ito Jensen Johnson Kahn Kamau Keller Kowalski Lamarr Liskov Lovelace Martin Mensah Moreau Nakamura
    Novak Okafor Olsen Patel Perlman Petrov Rossi Sato Schmidt Silva Singh Sørensen Tanaka Turing Vogel Wang
    Weber Wirth Zadeh
""".split()


def sample_user(departments: Sequence[str], dice: random.Random | None = None) -> dict[str, Any]:
    """A user with a random name and department, and an address at example.com (RFC 2606), which receives no mail.

    `dice`: source of randomness, for reproducible users.
    """
    dice = dice or random.Random()
    name = f"{dice.choice(FIRST_NAMES)} {dice.choice(LAST_NAMES)}"
    return {"name": name, "email": email_for(name), "department": dice.choice(departments)}


def email_for(name: str) -> str:
    """An ASCII e-mail address derived from a name; letters without an ASCII form are omitted."""
    words = ("".join(c for c in word if c.isascii() and c.isalnum()) for word in fold(name).split())
    local = ".".join(word for word in words if word)[:LOCAL_MAX_BYTES].rstrip(".")
    return f"{local or 'new.user'}@example.com"
