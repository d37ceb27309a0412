"""Sends e-mail over SMTP.

A 4xx response, a failed connection and a timeout are retried. A 5xx response to the mail is a permanent refusal
(RFC 5321 4.2.1). A 5xx response to the client (greeting, login) parks the saga, because the user is not the cause.
docs/explanation/delivery-guarantees.md explains when a mail can be sent twice.
"""

import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.policy import SMTPUTF8 as SMTPUTF8_POLICY
from hashlib import blake2b
from time import time

from aiosmtplib import (
    SMTP,
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from saga_app.saga.email_address import Mailbox, mailbox
from saga_app.saga.retry import Deferred, Permanent, Transient
from saga_app.service.mail import header_fields
from saga_app.service.mail.connections import ConnectionPool
from saga_app.service.mail.header_fields import without_controls
from saga_app.settings import SENDER, Mail

#: Timeout in seconds for the connection and for each command.
COMMAND_TIMEOUT_S = 10.0
#: Timeout in seconds from the end of the mail to the response. A server may scan the mail first, and a client that
#: gives up early sends the mail twice (RFC 5321 4.5.3.2.6). Less than the step's timeout, so that the reason is
#: reported.
DATA_TIMEOUT_S = 15.0

#: Errors that concern the mail, not the client.
MAIL_ERRORS = (SMTPSenderRefused, SMTPRecipientRefused, SMTPDataError)
#: Codes for a missing or failed login, in response to any command (RFC 4954 6).
LOGIN_CODES = frozenset({530, 534, 535, 538})

NO_ADDRESS = "this is not a valid e-mail address"
NO_SMTPUTF8 = "the mail server does not offer SMTPUTF8, which an address with non-ASCII letters before the @ needs"


class SmtpMail:
    """Sends mail over SMTP. The Message-ID is derived from the idempotency key, so that a duplicate can be recognised.

    `tls`: implicit TLS (smtps). Otherwise STARTTLS is used if the server offers it, with any certificate: an attacker
    who can forge a certificate could also suppress the offer (RFC 7435). With a user name, TLS with a valid certificate
    is required.
    """

    is_idempotent = False  # servers deliver two mails with the same Message-ID twice

    def __init__(
        self,
        host: str,
        port: int,
        sender: str = SENDER,
        user: str | None = None,
        password: str = "",
        tls: bool = False,
        clock: Callable[[], float] = time,
    ) -> None:
        self.host, self.port, self.tls = host, port, tls
        self.sender = mailbox(sender, local_names=True)
        self.user, self.password, self.clock = user, password, clock
        self.pool = ConnectionPool(self._client)

    @classmethod
    def at(cls, mail: Mail) -> "SmtpMail":
        """Create it from the settings."""
        password = mail.password.get_secret_value() if mail.password else ""
        return cls(mail.host, mail.port, mail.sender, mail.user, password, mail.scheme == "smtps")

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        """Send a mail. Returns the reason if it was permanently refused, otherwise None.

        Raises `Transient` if a retry may help (`Deferred` if the mail was certainly not accepted), and `Permanent` if
        the server refuses this client.
        """
        try:
            receiver = mailbox(to, local_names=True)
        except ValueError:
            return NO_ADDRESS
        try:
            async with self.pool.connection() as client:
                return await self._transmit(client, receiver, self.letter(key, to, subject, text))
        except SMTPResponseException as answer:
            return self._refused(answer, to, receiver)
        except (SMTPException, OSError) as error:
            raise Deferred(f"{self}: {_clean(str(error), to, receiver)}") from error

    async def close(self) -> None:
        """Close all connections. Call it when no mail is being sent."""
        await self.pool.close()

    def letter(self, key: str, to: str, subject: str, text: str) -> EmailMessage:
        """The message. No argument can inject a header."""
        message = EmailMessage()
        message["From"] = header_fields.address("From", self.sender.wire)
        message["To"] = header_fields.address("To", mailbox(to, local_names=True).wire)
        message["Subject"] = header_fields.subject(subject)
        message["Date"] = datetime.fromtimestamp(self.clock(), UTC)
        message["Message-ID"] = f"<{blake2b(key.encode(), digest_size=16).hexdigest()}@{self.sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: suppresses out-of-office replies
        message.set_content(text, cte="quoted-printable")  # ASCII on the wire, which every server accepts
        return message

    async def _transmit(self, client: SMTP, to: Mailbox, letter: EmailMessage) -> str | None:
        """Send one mail over a connection. Returns the reason for a permanent refusal, otherwise None."""
        utf8 = to.needs_smtputf8 or self.sender.needs_smtputf8
        if utf8 and not client.supports_extension("smtputf8"):
            if self.sender.needs_smtputf8:
                raise Permanent(f"{self} does not offer SMTPUTF8, which the sender needs (SAGA_MAIL, ?from=)")
            return NO_SMTPUTF8
        encoding, options, policy = ("utf-8", ["SMTPUTF8"], SMTPUTF8_POLICY) if utf8 else ("ascii", [], SMTP_POLICY)
        await client.mail(self.sender.wire, options=options, encoding=encoding)
        await client.rcpt(to.wire, encoding=encoding)
        try:
            await client.data(letter.as_bytes(policy=policy), timeout=DATA_TIMEOUT_S)
        except (SMTPServerDisconnected, SMTPTimeoutError, OSError) as error:
            problem = f"did not confirm the mail ({without_controls(str(error))}); it may have accepted it"
            raise Transient(f"{self} {problem}") from error
        return None

    def _refused(self, answer: SMTPResponseException, to: str, receiver: Mailbox) -> str:
        """The reason for a permanent refusal. Raises `Transient` or `Permanent` for other error responses."""
        response = f"{answer.code} {_clean(answer.message, to, receiver)}"
        if answer.code < 500:
            kind = Deferred if answer.code >= 400 else Transient  # a code below 400 is not a valid error response
            raise kind(f"{self} answered {response}") from answer
        if not isinstance(answer, MAIL_ERRORS) or answer.code in LOGIN_CODES:
            raise Permanent(f"{self} refuses this client: {response}") from answer
        return response

    def _client(self) -> SMTP:
        name = socket.gethostname()  # not from the DNS, which can take longer than the whole mail
        return SMTP(
            hostname=self.host,
            port=self.port,
            username=self.user,
            password=self.password if self.user else None,
            use_tls=self.tls,
            start_tls=True if self.user and not self.tls else None,
            validate_certs=self.tls or self.user is not None,
            local_hostname=name if "." in name and name.isascii() else "[127.0.0.1]",
            timeout=COMMAND_TIMEOUT_S,
        )

    def __str__(self) -> str:
        return f"the mail server {self.host}:{self.port}"


def _clean(text: str, to: str, receiver: Mailbox) -> str:
    """A server's response as one line without control characters, at most 300 characters long.

    Servers often repeat the address, which is removed because it is personal data.
    """
    line = " ".join(without_controls(text).split())
    spelled = "|".join(map(re.escape, (to, receiver.wire)))
    return re.sub(spelled, "(the address)", line, flags=re.IGNORECASE)[:300]
