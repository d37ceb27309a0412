"""Mail delivery to a real SMTP server on loopback that is slow, silent or unreachable, rejects mails or disconnects."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.policy import SMTP
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from devtools.wait import eventually, free_port
from saga_app.saga.retry import Permanent, Transient
from saga_app.service.mail import smtp_mail as mail_
from saga_app.service.mail.connections import ConnectionPool
from saga_app.service.mail.smtp_mail import SmtpMail
from saga_app.settings import Mail
from tests.mail_server import MailServer, mail_server, telnet

KEY = "onboarding:ada:notify"
ADA = "ada@example.com"


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


@pytest.fixture
async def mail(server: MailServer) -> AsyncIterator[SmtpMail]:
    mail = SmtpMail("127.0.0.1", server.port)
    yield mail
    await mail.close()


async def send_welcome(mail: SmtpMail, to: str = ADA, key: str = KEY) -> str | None:
    return await mail.send(key, to, "Welcome, Ada", "Your device: LT-1\n")


# -- received mails


async def test_subject_and_text_arrive_unchanged(server: MailServer, mail: SmtpMail) -> None:
    assert await mail.send(KEY, ADA, "Welcome, Zoë", "Your device: LT-1\n.\nYou may use: größe\n") is None
    received = server.mails[0]
    assert (received["From"], received["To"], received["Subject"]) == ("onboarding@localhost", ADA, "Welcome, Zoë")
    assert received.get_content().splitlines() == ["Your device: LT-1", ".", "You may use: größe"]
    assert received["Auto-Submitted"] == "auto-generated"
    assert datetime.now(UTC) - received["Date"].datetime < timedelta(minutes=1)


async def test_mails_with_the_same_key_have_the_same_message_id(server: MailServer, mail: SmtpMail) -> None:
    for key in (KEY, KEY, "onboarding:bob:notify"):
        await send_welcome(mail, key=key)
    first, second, other = (received["Message-ID"] for received in server.mails)
    assert first == second != other
    assert first.endswith("@localhost>")


async def test_a_name_cannot_inject_a_header_or_a_command(server: MailServer, mail: SmtpMail) -> None:
    evil = "\r\nBcc: eve@example.com\r\n\r\n.\r\nMAIL FROM:<eve@example.com>\r\n"
    await mail.send(KEY, ADA, f"Welcome, {evil}", f"Dear {evil}")
    await mail.send(KEY, ADA, "Welcome, =?utf-8?q?Ada=0D=0ABcc=3A_eve@example.com?=", "text")
    assert [envelope.rcpt_tos for envelope in server.envelopes] == [[ADA], [ADA]]
    assert [received["Bcc"] for received in server.mails] == [None, None]
    assert len(server.open) == 1


@example("Welcome, =?utf-8?q?Ada=0D=0ABcc=3A_eve@example.com?=", "")
@given(st.text(), st.text(alphabet=st.characters(codec="utf-8")))
def test_no_subject_and_no_text_adds_a_header(subject: str, text: str) -> None:
    headers = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
    content = ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    sent = SmtpMail("mail", 25).letter(KEY, ADA, subject, text).as_bytes(policy=SMTP)
    lines = [line for line in sent.split(b"\r\n\r\n")[0].split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert [line.split(b":")[0].decode() for line in lines] == headers + content


@pytest.mark.parametrize(
    "to",
    ["a,b@example.com", "<ada@example.com", "ada@example.com>", "a\0@example.com", "=?utf-8?q?a=2Cb?=@c", "a..b@c"],
)
async def test_an_invalid_address_is_refused_without_a_connection(to: str, server: MailServer, mail: SmtpMail) -> None:
    assert await send_welcome(mail, to) == "this is not a valid e-mail address"
    assert not server.connections


@pytest.mark.parametrize("to", ["jörg@exämple.com", "ада@пример.рф", "राम@उदाहरण.भारत"])
async def test_an_address_may_be_in_any_script(to: str, server: MailServer, mail: SmtpMail) -> None:
    assert await send_welcome(mail, to) is None
    assert (server.mails[0]["To"], server.envelopes[0].rcpt_tos) == (to, [to])


async def test_an_address_that_the_server_does_not_support_is_refused() -> None:
    async with mail_server(utf8=False) as server:
        mail = SmtpMail("127.0.0.1", server.port)
        assert "SMTPUTF8" in str(await send_welcome(mail, "jörg@example.com"))
        assert await send_welcome(mail) is None, "the next mail was refused"
        await mail.close()


# -- replies of the server


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_5xx_reply_is_a_refusal(command: str, server: MailServer, mail: SmtpMail) -> None:
    server.answers[command] = "554 no thanks"
    assert await send_welcome(mail) == "554 no thanks"


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_4xx_reply_is_transient(command: str, server: MailServer, mail: SmtpMail) -> None:
    server.answers[command] = "451 try later"
    with pytest.raises(Transient, match="451 try later"):
        await send_welcome(mail)
    server.answers.clear()
    assert await send_welcome(mail) is None
    assert len(server.connections) == 1, "a 4xx reply closed the connection"


async def test_the_reason_of_a_refusal_omits_the_address(mail: SmtpMail) -> None:
    assert await send_welcome(mail, "nobody@example.com") == "550 no such user <(the address)>"


async def test_a_retry_after_a_421_reply_uses_another_connection(server: MailServer, mail: SmtpMail) -> None:
    server.answers["DATA"] = "421 going down"
    with pytest.raises(Transient, match="421 going down"):
        await send_welcome(mail)
    server.answers.clear()
    assert await send_welcome(mail) is None
    assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("replies", "reason"),
    [([b"554 not you"], "554 not you"), ([b"220 hello", b"502 no", b"550 go away"], "550 go away")],
)
async def test_a_server_that_rejects_the_client_is_a_permanent_error(replies: list[bytes], reason: str) -> None:
    async with telnet(*replies) as port:
        with pytest.raises(Permanent, match=reason):
            await send_welcome(SmtpMail("127.0.0.1", port))


@pytest.mark.parametrize("reply", [b"\xff\xfe what?", b"451 \xff\xe4 caf\xe9", b"", b"451 " + b"x" * 5000, b"421 busy"])
async def test_an_invalid_reply_is_transient_and_has_a_short_reason(reply: bytes) -> None:
    async with telnet(reply) as port:
        with pytest.raises(Transient) as raised:
            await send_welcome(SmtpMail("127.0.0.1", port))
    assert len(str(raised.value).encode()) < 1000


# -- unreachable and unresponsive servers


async def test_a_refused_connection_is_transient() -> None:
    port = free_port()
    with pytest.raises(Transient, match=f"127.0.0.1:{port}"):
        await send_welcome(SmtpMail("127.0.0.1", port))


async def test_an_unknown_host_is_transient() -> None:
    with pytest.raises(Transient, match="no-such-host"):
        await send_welcome(SmtpMail("no-such-host.invalid", 25))


async def test_a_retry_after_a_lost_reply_has_the_same_message_id(server: MailServer, mail: SmtpMail) -> None:
    server.drops = True
    with pytest.raises(Transient, match="did not confirm the mail"):
        await send_welcome(mail)
    server.drops = False
    assert await send_welcome(mail) is None
    first, second = (received["Message-ID"] for received in server.mails)
    assert first == second, "the second attempt had another Message-ID"


async def test_the_reply_to_data_may_take_longer_than_other_replies(
    server: MailServer, mail: SmtpMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_, "COMMAND_TIMEOUT_S", 0.1)
    server.slow_s = 0.3
    assert await send_welcome(mail) is None
    assert len(server.mails) == 1


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_does_not_reply_is_transient(
    command: str, server: MailServer, mail: SmtpMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_, "COMMAND_TIMEOUT_S", 0.1)
    monkeypatch.setattr(mail_, "DATA_TIMEOUT_S", 0.1)
    server.silent.add(command)
    with pytest.raises(Transient):
        await send_welcome(mail)
    await eventually(has_closed(server, 1), 5, "the connection is closed")


async def test_an_attempt_that_timed_out_does_not_affect_the_next(server: MailServer, mail: SmtpMail) -> None:
    server.silent.add("RCPT")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await send_welcome(mail)
    server.silent.clear()
    assert await send_welcome(mail) is None
    assert (len(server.mails), len(server.connections)) == (1, 2)


# -- connections


async def test_many_mails_share_a_few_connections(server: MailServer) -> None:
    server.slow_s = 0.01
    mail = SmtpMail("127.0.0.1", server.port)
    assert set(await asyncio.gather(*(send_welcome(mail, key=str(n)) for n in range(60)))) == {None}
    assert (len(server.connections), server.most_at_once) == (8, 8)
    assert len({received["Message-ID"] for received in server.mails}) == 60
    await mail.close()
    await eventually(has_closed(server, 8), 5, "all connections are closed")


async def test_consecutive_mails_use_one_connection(server: MailServer, mail: SmtpMail) -> None:
    for _ in range(5):
        await send_welcome(mail)
        assert await send_welcome(mail, "nobody@example.com")
    assert len(server.connections) == 1


async def test_connections_closed_by_the_server_cost_no_mail_and_no_attempt(server: MailServer, mail: SmtpMail) -> None:
    server.slow_s = 0.01
    await asyncio.gather(*(send_welcome(mail, key=str(n)) for n in range(8)))
    server.hang_up()  # without waiting: the client may notice it at any point
    assert set(await asyncio.gather(*(send_welcome(mail, key=str(n)) for n in range(8, 16)))) == {None}
    assert len({received["Message-ID"] for received in server.mails}) == len(server.mails) == 16


@pytest.mark.parametrize("answer", ["421 timeout exceeded", None])
async def test_a_silently_broken_connection_costs_no_attempt(
    answer: str | None, server: MailServer, mail: SmtpMail
) -> None:
    mail.pool.probe_s = 0.1
    await send_welcome(mail)
    server.only = list(server.connections)
    if answer:
        server.answers["RSET"] = answer
    else:
        server.silent.add("RSET")
    assert await send_welcome(mail) is None
    assert (len(server.mails), len(server.connections)) == (2, 2)


async def test_an_idle_connection_is_closed(server: MailServer) -> None:
    mail = SmtpMail("127.0.0.1", server.port)
    mail.pool.idle_s = 0.05
    await send_welcome(mail)
    await eventually(has_closed(server, 1), 5, "the connection is closed")
    assert await send_welcome(mail) is None
    await mail.close()


async def test_closing_finishes_the_mail_in_progress_and_keeps_no_connection(
    server: MailServer, mail: SmtpMail
) -> None:
    server.slow_s = 0.05
    sending = asyncio.create_task(send_welcome(mail))
    await eventually(is_accepting(server), 5, "the mail is being sent")
    await mail.close()
    assert await sending is None, "the mail in progress was not finished"
    await eventually(has_closed(server, 1), 5, "the connection is closed")


async def test_closing_does_not_wait_for_an_unresponsive_server(
    server: MailServer, mail: SmtpMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send_welcome(mail)
    monkeypatch.setattr("saga_app.service.mail.connections.QUIT_S", 0.1)
    server.connections[0]._handler_coroutine.cancel()
    await asyncio.wait_for(mail.close(), 2)


def has_closed(server: MailServer, count: int) -> Callable[[], Awaitable[bool]]:
    """The condition that the server has had `count` connections and none is open."""

    async def condition() -> bool:
        return len(server.connections) == count and not server.open

    return condition


def is_accepting(server: MailServer) -> Callable[[], Awaitable[bool]]:
    """The condition that the server is accepting a mail."""

    async def condition() -> bool:
        return server.busy > 0

    return condition


# -- encryption and login


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*new, *names, "-keyout", path, "-out", path.with_suffix(".crt")], check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_encryption_is_used_if_offered_whatever_the_certificate(tls: ssl.SSLContext) -> None:
    async with mail_server(tls=tls) as server:
        mail = SmtpMail("127.0.0.1", server.port)
        assert await send_welcome(mail) is None
        assert server.connections[0].session.ssl
        await mail.close()


async def test_with_a_password_the_certificate_is_verified(tls: ssl.SSLContext) -> None:
    async with mail_server(tls=tls) as server:
        with pytest.raises(Transient, match="certificate"):
            await send_welcome(SmtpMail("127.0.0.1", server.port, user="saga", password="hush"))
        assert not server.logins


async def test_a_password_is_never_sent_in_the_clear(server: MailServer) -> None:
    with pytest.raises(Transient, match="STARTTLS"):
        await send_welcome(SmtpMail("127.0.0.1", server.port, user="saga", password="hush"))
    assert not server.logins


async def test_the_client_logs_in_with_name_and_password(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    async with mail_server(tls=tls) as server:
        server.users["saga"] = "hush"
        mail = SmtpMail("127.0.0.1", server.port, user="saga", password="hush")
        assert await send_welcome(mail) is None
        assert server.logins == ["saga"]
        await mail.close()


async def test_a_wrong_password_is_a_permanent_error(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    async with mail_server(tls=tls) as server:
        with pytest.raises(Permanent, match="535") as raised:
            await send_welcome(SmtpMail("127.0.0.1", server.port, user="saga", password="wrong"))
        assert "wrong" not in str(raised.value)


def test_the_server_is_configured_by_the_settings() -> None:
    mail = SmtpMail.at(Mail("smtps", "mail.example.com", 465, "saga", SecretStr("hush"), "hr@example.com"))
    assert str(mail) == "the mail server mail.example.com:465"
    assert (mail.user, mail.password, mail.tls) == ("saga", "hush", True)
    assert mail.letter(KEY, ADA, "s", "t")["Message-ID"].endswith("@example.com>")


def test_a_connection_is_created_only_when_it_is_needed() -> None:
    ConnectionPool(lambda: pytest.fail("a connection was created without a mail"))
