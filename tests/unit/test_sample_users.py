"""The e-mail address that `saga new --name` derives from a name."""

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
def test_the_address_is_derived_from_the_name(name: str, address: str) -> None:
    assert sample_users.email_for(name) == address


def test_the_address_for_any_name_is_valid() -> None:
    for name in random_names(300, seed=3):
        assert mailbox(sample_users.email_for(name)).wire.isascii()
