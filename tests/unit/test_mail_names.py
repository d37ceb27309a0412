"""Names in subjects and addresses in envelopes, as the receiving side decodes them."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saga_app.saga.email_address import mailbox
from saga_app.saga.retry import Permanent
from saga_app.service.mail import header_fields
from saga_app.service.mail.smtp_mail import SmtpMail
from tests.mail_server import MailServer, mail_server
from tests.names import random_names

Now = Callable[[str], None]

LONG_NAME = "Núñez Maria do Rosário Ávila Núñez"


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


def raw_subject(content: bytes) -> str:
    """The encoded subject, without its line breaks."""
    return str(message_from_bytes(content)["Subject"])


def decoded_by_old_interface(raw: str) -> str:
    """The text of an encoded header according to the old interface of the email package."""
    return str(make_header(decode_header(raw)))


@pytest.mark.field(10)
async def test_a_thousand_names_arrive_unchanged(server: MailServer, now: Now) -> None:
    names = [LONG_NAME, *random_names(999, seed=10)]
    mail = SmtpMail("127.0.0.1", server.port)
    await asyncio.gather(*(mail.send(name, "jo@example.com", f"Welcome, {name}", f"Dear {name}\n") for name in names))
    await mail.close()
    subjects = sorted(f"Welcome, {name}" for name in names)
    assert sorted(received["Subject"] for received in server.mails) == subjects
    assert sorted(decoded_by_old_interface(raw_subject(envelope.content)) for envelope in server.envelopes) == subjects
    assert sorted(received.get_content().strip() for received in server.mails) == sorted(
        f"Dear {name}" for name in names
    )
    example = next(subject for subject in subjects if LONG_NAME in subject)
    now(f"{len(server.mails)} of {len(names)} names as typed, {example!r} among them")


@pytest.mark.field(10)
@settings(max_examples=500)
@example("ÁvilaNúñez Ávila  Núñez ")
@example("=?utf-8?q?Ada=0D=0ABcc=3A_eve@example.com?=")
@example(" ")
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), max_size=200))
def test_any_subject_is_decoded_to_itself(text: str) -> None:
    for wire_policy in (policy.SMTP, policy.SMTPUTF8, policy.default):
        message = EmailMessage()
        message["Subject"] = header_fields.subject(text)
        sent = message.as_bytes(policy=wire_policy)
        assert max(map(len, sent.splitlines())) <= 78
        assert message_from_bytes(sent, policy=policy.default)["Subject"] == text
        assert decoded_by_old_interface(raw_subject(sent)) == text


@pytest.mark.field(10)
@given(st.text())
def test_a_subject_of_any_text_is_one_header_field(text: str) -> None:
    message = EmailMessage()
    message["Subject"] = header_fields.subject(text)
    assert message_from_bytes(message.as_bytes(), policy=policy.default).keys() == ["Subject"]


#: Addresses with international domains, and their ASCII form.
ASCII_ADDRESSES = {
    "jo@bücher.example": "jo@xn--bcher-kva.example",
    "jo@BÜCHER.example": "jo@xn--bcher-kva.example",
    "jo@bu\u0308cher.example": "jo@xn--bcher-kva.example",
    "jo@faß.example": "jo@xn--fa-hia.example",
    "jo@xn--bcher-kva.example": "jo@xn--bcher-kva.example",
    "jo@例え。テスト": "jo@xn--r8jz45g.xn--zckzah",
    "jo@пример.рф": "jo@xn--e1afmkfd.xn--p1ai",
    "jo@उदाहरण.भारत": "jo@xn--p1b6ci4b4b3a.xn--h2brj9c",
    "jo@ＥＸＡＭＰＬＥ.com": "jo@example.com",
}


@pytest.mark.field(9)
@pytest.mark.parametrize("utf8", [False, True], ids=["without SMTPUTF8", "with SMTPUTF8"])
@pytest.mark.parametrize(("typed", "wire"), ASCII_ADDRESSES.items())
async def test_an_international_domain_is_sent_in_ascii(utf8: bool, typed: str, wire: str, now: Now) -> None:
    async with mail_server(utf8=utf8) as server:
        mail = SmtpMail("127.0.0.1", server.port, sender="hr@bücher.example")
        assert await mail.send("key", typed, "Welcome", "text\n") is None
        await mail.close()
    [envelope], [received] = server.envelopes, server.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("hr@xn--bcher-kva.example", [wire])
    assert (received["From"], received["To"]) == ("hr@xn--bcher-kva.example", wire)
    assert received["Message-ID"].endswith("@xn--bcher-kva.example>")
    now(f"RCPT TO:<{envelope.rcpt_tos[0]}>" if typed == "jo@bücher.example" else "other domains likewise")


@pytest.mark.field(9)
async def test_a_non_ascii_local_part_needs_a_server_with_smtputf8(now: Now) -> None:
    async with mail_server(utf8=False) as server:
        mail = SmtpMail("127.0.0.1", server.port)
        refused = await mail.send("key", "jörg@bücher.example", "Welcome", "text\n")
        await mail.close()
    assert "SMTPUTF8" in str(refused)
    assert not server.mails
    now(f"jörg@: {refused}")


async def test_an_unsupported_sender_is_a_permanent_error_naming_the_setting() -> None:
    async with mail_server(utf8=False) as server:
        mail = SmtpMail("127.0.0.1", server.port, sender="jörg@example.com")
        with pytest.raises(Permanent, match="SAGA_MAIL"):
            await mail.send("key", "jo@example.com", "Welcome", "text\n")
        await mail.close()


ASCII_CHARACTERS = "abcXYZ019!#$%&'*+-/=?^_`{|}~."
CHARACTERS = ASCII_CHARACTERS + "äßøжあ山अराम😀é"
DOMAIN_NAMES = [
    "example.com",
    "EXAMPLE.org",
    "bücher.example",
    "a-b.example",
    "mail.test",
    "xn--bcher-kva.example",
    "例え.example",
]


def random_addresses(count: int, seed: int) -> list[str]:
    """`count` different addresses that `mailbox` accepts."""
    dice, found = random.Random(seed), set[str]()
    while len(found) < count:
        alphabet = CHARACTERS if dice.random() < 0.4 else ASCII_CHARACTERS
        local = "".join(dice.choices(alphabet, k=dice.choice([1, 2, 8, 20, 64])))
        address = f"{local}@{dice.choice(DOMAIN_NAMES)}"
        try:
            mailbox(address)
        except ValueError:
            continue
        found.add(address)
    return sorted(found)


@pytest.mark.field(8)
async def test_every_accepted_address_is_mailed(server: MailServer, now: Now) -> None:
    addresses = random_addresses(200, seed=8)
    mail = SmtpMail("127.0.0.1", server.port)
    answers = await asyncio.gather(*(mail.send(to, to, "Welcome", "text\n") for to in addresses))
    await mail.close()
    assert [refused for refused in answers if refused] == []
    wanted = sorted(mailbox(to).wire for to in addresses)
    assert sorted(envelope.rcpt_tos[0] for envelope in server.envelopes) == wanted
    assert sorted(str(received["To"]) for received in server.mails) == wanted
    now(f"{len(server.mails)} of {len(addresses)} accepted addresses mailed")


@pytest.mark.field(8)
async def test_the_longest_address_is_one_address_in_the_header(server: MailServer) -> None:
    to = "a" * 64 + "@" + ".".join(["b" * 59] * 3) + ".example"
    mail = SmtpMail("127.0.0.1", server.port)
    assert await mail.send("key", to, "Welcome", "text\n") is None
    await mail.close()
    assert server.mails[0]["To"].addresses[0].addr_spec == to
