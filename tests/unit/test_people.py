"""Made-up users, and the address that `saga new --name` makes of a name."""

import pytest

from saga_app.local import sample_users
from saga_app.saga.email_address import mailbox
from tests.names import random_names


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("Ada Lovelace", "ada.lovelace@example.com"),
        ("Łukasz Ørsted", "lukasz.orsted@example.com"),
        ("Ada 山田 -", "ada@example.com"),
        ("山田太郎", "new.user@example.com"),
    ],
)
def test_an_address_is_made_of_the_name(name: str, address: str) -> None:
    assert sample_users.email_for(name) == address


def test_the_address_of_any_name_can_be_mailed() -> None:
    for name in random_names(300, seed=3):
        assert mailbox(sample_users.email_for(name)).wire.isascii()
