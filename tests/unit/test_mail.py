"""Mail against a real SMTP server on loopback: accepted, refused, put off, away."""

from collections.abc import Iterator
from email import message_from_bytes
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from saga_app.saga.retry import Transient
from saga_app.service.mail import SmtpMail
from tests.wait import free_port


class Server:
    """Answers each recipient as the address says, and keeps what it accepts."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address.startswith("nobody"):
            return "550 no such user"
        if address.startswith("busy"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content))
        return "250 accepted"


@pytest.fixture
def server() -> Iterator[tuple[Server, SmtpMail]]:
    handler, port = Server(), free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield handler, SmtpMail("127.0.0.1", port)
    finally:
        controller.stop()


async def test_a_mail_goes_out_with_the_same_message_id_whenever_it_is_sent(server: tuple[Server, SmtpMail]) -> None:
    handler, mail = server
    for _ in range(2):
        assert await mail.send("onboarding:ada:notify", "ada@example.com", "Welcome, Ada", "Your device: LT-1") is None
    first, second = handler.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert (first["To"], first["Subject"]) == ("ada@example.com", "Welcome, Ada")


async def test_an_address_that_does_not_exist_is_refused_for_good(server: tuple[Server, SmtpMail]) -> None:
    assert await server[1].send("k", "nobody@example.com", "s", "t") == "550 no such user"


async def test_a_server_that_is_busy_is_tried_again(server: tuple[Server, SmtpMail]) -> None:
    with pytest.raises(Transient, match="451"):
        await server[1].send("k", "busy@example.com", "s", "t")


async def test_a_server_that_is_away_is_tried_again() -> None:
    port = free_port()
    with pytest.raises(Transient, match=f"127.0.0.1:{port}"):
        await SmtpMail("127.0.0.1", port).send("k", "ada@example.com", "s", "t")
