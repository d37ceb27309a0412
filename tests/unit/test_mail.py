"""Mail against a real SMTP server on loopback: one that is slow, refuses, hangs up, is silent or away."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
    async with mail_server() as started:
        yield started


@pytest.fixture
async def mail(server: MailServer) -> AsyncIterator[SmtpMail]:
    made = SmtpMail("127.0.0.1", server.port)
    yield made
    await made.close()


async def welcome(mail: SmtpMail, to: str = ADA, key: str = KEY) -> str | None:
    return await mail.send(key, to, "Welcome, Ada", "Your device: LT-1\n")


# -- what arrives


async def test_a_mail_arrives_as_it_was_written(server: MailServer, mail: SmtpMail) -> None:
    assert await mail.send(KEY, ADA, "Welcome, Zoë", "Your device: LT-1\n.\nYou may use: größe\n") is None
    got = server.mails[0]
    assert (got["From"], got["To"], got["Subject"]) == ("onboarding@localhost", ADA, "Welcome, Zoë")
    assert got.get_content().splitlines() == ["Your device: LT-1", ".", "You may use: größe"]
    assert got["Auto-Submitted"] == "auto-generated"
    assert datetime.now(UTC) - got["Date"].datetime < timedelta(minutes=1)


async def test_a_mail_that_is_sent_twice_can_be_told_as_one(server: MailServer, mail: SmtpMail) -> None:
    for key in (KEY, KEY, "onboarding:bob:notify"):
        await welcome(mail, key=key)
    first, again, other = (each["Message-ID"] for each in server.mails)
    assert first == again != other
    assert first.endswith("@localhost>")


async def test_a_name_cannot_add_a_header_or_a_command(server: MailServer, mail: SmtpMail) -> None:
    evil = "\r\nBcc: eve@example.com\r\n\r\n.\r\nMAIL FROM:<eve@example.com>\r\n"
    await mail.send(KEY, ADA, f"Welcome, {evil}", f"Dear {evil}")
    await mail.send(KEY, ADA, "Welcome, =?utf-8?q?Ada=0D=0ABcc=3A_eve@example.com?=", "text")
    assert [each.rcpt_tos for each in server.envelopes] == [[ADA], [ADA]]
    assert [each["Bcc"] for each in server.mails] == [None, None]
    assert len(server.open) == 1


@example("Welcome, =?utf-8?q?Ada=0D=0ABcc=3A_eve@example.com?=", "")
@given(st.text(), st.text(alphabet=st.characters(codec="utf-8")))
def test_no_subject_and_no_text_has_a_header_of_its_own(subject: str, text: str) -> None:
    headers = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
    content = ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    sent = SmtpMail("mail", 25).letter(KEY, ADA, subject, text).as_bytes(policy=mail_.SMTP_POLICY)
    lines = [line for line in sent.split(b"\r\n\r\n")[0].split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert [line.split(b":")[0].decode() for line in lines] == headers + content


@pytest.mark.parametrize(
    "to",
    ["a,b@example.com", "<ada@example.com", "ada@example.com>", "a\0@example.com", "=?utf-8?q?a=2Cb?=@c", "a..b@c"],
)
async def test_what_is_no_address_is_refused_without_asking_the_server(
    to: str, server: MailServer, mail: SmtpMail
) -> None:
    assert await welcome(mail, to) == "this is not a valid e-mail address"
    assert not server.connections


@pytest.mark.parametrize("to", ["jörg@exämple.com", "ада@пример.рф", "राम@उदाहरण.भारत"])
async def test_an_address_may_be_in_any_script(to: str, server: MailServer, mail: SmtpMail) -> None:
    assert await welcome(mail, to) is None
    assert (server.mails[0]["To"], server.envelopes[0].rcpt_tos) == (to, [to])


async def test_an_address_that_the_server_cannot_take_is_refused_for_good() -> None:
    async with mail_server(utf8=False) as server:
        mail = SmtpMail("127.0.0.1", server.port)
        assert "SMTPUTF8" in str(await welcome(mail, "jörg@example.com"))
        assert await welcome(mail) is None, "the next one goes out"
        await mail.close()


# -- what the server says


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_5xx_answer_is_a_refusal_for_good(command: str, server: MailServer, mail: SmtpMail) -> None:
    server.answers[command] = "554 no thanks"
    assert await welcome(mail) == "554 no thanks"


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_4xx_answer_is_tried_again(command: str, server: MailServer, mail: SmtpMail) -> None:
    server.answers[command] = "451 try later"
    with pytest.raises(Transient, match="451 try later"):
        await welcome(mail)
    server.answers.clear()
    assert await welcome(mail) is None
    assert len(server.connections) == 1, "an answer is no reason for a new connection"


async def test_a_reason_does_not_tell_the_address(mail: SmtpMail) -> None:
    assert await welcome(mail, "nobody@example.com") == "550 no such user <(the address)>"


async def test_a_server_that_is_going_down_is_tried_again_on_another_connection(
    server: MailServer, mail: SmtpMail
) -> None:
    server.answers["DATA"] = "421 going down"
    with pytest.raises(Transient, match="421 going down"):
        await welcome(mail)
    server.answers.clear()
    assert await welcome(mail) is None
    assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("said", "answer"), [([b"554 not you"], "554 not you"), ([b"220 hello", b"502 no", b"550 go away"], "550 go away")]
)
async def test_a_server_that_wants_nothing_from_us_parks_the_saga_and_is_not_the_users_fault(
    said: list[bytes], answer: str
) -> None:
    async with telnet(*said) as port:
        with pytest.raises(Permanent, match=answer):
            await welcome(SmtpMail("127.0.0.1", port))


@pytest.mark.parametrize("said", [b"\xff\xfe what?", b"451 \xff\xe4 caf\xe9", b"", b"451 " + b"x" * 5000, b"421 busy"])
async def test_nonsense_is_tried_again_and_can_be_told(said: bytes) -> None:
    async with telnet(said) as port:
        with pytest.raises(Transient) as raised:
            await welcome(SmtpMail("127.0.0.1", port))
    assert len(str(raised.value).encode()) < 1000


# -- when it does not


async def test_a_server_that_is_away_is_tried_again() -> None:
    port = free_port()
    with pytest.raises(Transient, match=f"127.0.0.1:{port}"):
        await welcome(SmtpMail("127.0.0.1", port))


async def test_a_host_that_has_no_name_is_tried_again() -> None:
    with pytest.raises(Transient, match="no-such-host"):
        await welcome(SmtpMail("no-such-host.invalid", 25))


async def test_a_mail_whose_answer_was_lost_is_sent_again_with_the_same_id(server: MailServer, mail: SmtpMail) -> None:
    server.drops = True
    with pytest.raises(Transient, match="did not confirm the mail"):
        await welcome(mail)
    server.drops = False
    assert await welcome(mail) is None
    first, again = (each["Message-ID"] for each in server.mails)
    assert first == again, "whoever receives both can tell"


async def test_a_server_that_is_slow_with_its_answer_is_waited_for(
    server: MailServer, mail: SmtpMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_, "COMMAND_TIMEOUT_S", 0.1)
    server.slow_s = 0.3
    assert await welcome(mail) is None
    assert len(server.mails) == 1


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_falls_silent_is_given_up(
    command: str, server: MailServer, mail: SmtpMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_, "COMMAND_TIMEOUT_S", 0.1)
    monkeypatch.setattr(mail_, "DATA_TIMEOUT_S", 0.1)
    server.silent.add(command)
    with pytest.raises(Transient):
        await welcome(mail)
    await eventually(closed(server, 1), 5, "the connection is closed")


async def test_an_attempt_that_runs_out_of_time_leaves_nothing_behind(server: MailServer, mail: SmtpMail) -> None:
    server.silent.add("RCPT")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await welcome(mail)
    server.silent.clear()
    assert await welcome(mail) is None
    assert (len(server.mails), len(server.connections)) == (1, 2)


# -- connections


async def test_many_mails_share_a_few_connections(server: MailServer) -> None:
    server.slow_s = 0.01
    mail = SmtpMail("127.0.0.1", server.port)
    assert set(await asyncio.gather(*(welcome(mail, key=str(n)) for n in range(60)))) == {None}
    assert (len(server.connections), server.most_at_once) == (8, 8)
    assert len({each["Message-ID"] for each in server.mails}) == 60
    await mail.close()
    await eventually(closed(server, 8), 5, "all connections are closed")


async def test_mails_one_after_the_other_use_one_connection(server: MailServer, mail: SmtpMail) -> None:
    for _ in range(5):
        await welcome(mail)
        assert await welcome(mail, "nobody@example.com")
    assert len(server.connections) == 1


async def test_a_connection_that_the_server_has_closed_costs_neither_a_mail_nor_an_attempt(
    server: MailServer, mail: SmtpMail
) -> None:
    server.slow_s = 0.01
    await asyncio.gather(*(welcome(mail, key=str(n)) for n in range(8)))
    server.hang_up()  # nobody waits here until that has come through: it may be noticed at any point
    assert set(await asyncio.gather(*(welcome(mail, key=str(n)) for n in range(8, 16)))) == {None}
    assert len({each["Message-ID"] for each in server.mails}) == len(server.mails) == 16


@pytest.mark.parametrize("answer", ["421 timeout exceeded", None])
async def test_a_connection_that_is_dead_without_saying_so_costs_no_attempt(
    answer: str | None, server: MailServer, mail: SmtpMail
) -> None:
    mail.pool.probe_s = 0.1
    await welcome(mail)
    server.only = list(server.connections)
    if answer:
        server.answers["RSET"] = answer
    else:
        server.silent.add("RSET")
    assert await welcome(mail) is None
    assert (len(server.mails), len(server.connections)) == (2, 2)


async def test_a_connection_that_nobody_needs_is_closed(server: MailServer) -> None:
    mail = SmtpMail("127.0.0.1", server.port)
    mail.pool.idle_s = 0.05
    await welcome(mail)
    await eventually(closed(server, 1), 5, "it is closed")
    assert await welcome(mail) is None
    await mail.close()


async def test_after_closing_nothing_is_kept(server: MailServer, mail: SmtpMail) -> None:
    server.slow_s = 0.05
    sending = asyncio.create_task(welcome(mail))
    await eventually(busy(server), 5, "it is being sent")
    await mail.close()
    assert await sending is None, "what is under way is finished"
    await eventually(closed(server, 1), 5, "it is closed")


async def test_closing_does_not_wait_for_a_server_that_is_silent(
    server: MailServer, mail: SmtpMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    await welcome(mail)
    monkeypatch.setattr("saga_app.service.mail.connections.QUIT_S", 0.1)
    server.connections[0]._handler_coroutine.cancel()
    await asyncio.wait_for(mail.close(), 2)


def closed(server: MailServer, count: int) -> Any:
    async def look() -> bool:
        return len(server.connections) == count and not server.open

    return look


def busy(server: MailServer) -> Any:
    async def look() -> bool:
        return server.busy > 0

    return look


# -- encryption and login


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that nobody has signed, and its key, in one file."""
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


async def test_a_server_that_offers_encryption_gets_it_whatever_its_certificate(tls: ssl.SSLContext) -> None:
    async with mail_server(tls=tls) as server:
        mail = SmtpMail("127.0.0.1", server.port)
        assert await welcome(mail) is None
        assert server.connections[0].session.ssl
        await mail.close()


async def test_with_a_password_the_certificate_must_hold(tls: ssl.SSLContext) -> None:
    async with mail_server(tls=tls) as server:
        with pytest.raises(Transient, match="certificate"):
            await welcome(SmtpMail("127.0.0.1", server.port, user="saga", password="hush"))
        assert not server.logins


async def test_a_password_is_never_sent_in_the_clear(server: MailServer) -> None:
    with pytest.raises(Transient, match="STARTTLS"):
        await welcome(SmtpMail("127.0.0.1", server.port, user="saga", password="hush"))
    assert not server.logins


async def test_login(tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    async with mail_server(tls=tls) as server:
        server.users["saga"] = "hush"
        mail = SmtpMail("127.0.0.1", server.port, user="saga", password="hush")
        assert await welcome(mail) is None
        assert server.logins == ["saga"]
        await mail.close()


async def test_a_wrong_password_parks_the_saga(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    async with mail_server(tls=tls) as server:
        with pytest.raises(Permanent, match="535") as raised:
            await welcome(SmtpMail("127.0.0.1", server.port, user="saga", password="wrong"))
        assert "wrong" not in str(raised.value)


def test_the_settings_say_which_server() -> None:
    mail = SmtpMail.at(Mail("smtps", "mail.example.com", 465, "saga", SecretStr("hush"), "hr@example.com"))
    assert str(mail) == "the mail server mail.example.com:465"
    assert (mail.user, mail.password, mail.tls) == ("saga", "hush", True)
    assert mail.letter(KEY, ADA, "s", "t")["Message-ID"].endswith("@example.com>")


def test_a_line_is_only_made_when_it_is_needed() -> None:
    ConnectionPool(lambda: pytest.fail("nobody has sent anything"))
