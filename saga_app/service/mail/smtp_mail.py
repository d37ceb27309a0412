"""Real e-mail by SMTP.

A 4xx answer, a connection that fails and a server that is silent may be tried again; a 5xx answer to the mail is a
refusal for good (RFC 5321 4.2.1), and one to ourselves (greeting, login) parks the saga: it is not the user's fault.
Where a second mail can still happen: docs/explanation/delivery-guarantees.md.
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
from saga_app.service.mail.connections import Lines
from saga_app.service.mail.header_fields import without_controls
from saga_app.settings import SENDER, Mail

#: Seconds that the server may take for the connection, and for one command.
TIMEOUT_S = 10.0
#: Seconds that it may take from the end of the mail to its answer: it may look through the mail before, and who does
#: not wait mails twice (RFC 5321 4.5.3.2.6). Less than the step's timeout, so that the reason is told.
ANSWER_S = 15.0

#: Answers to the mail, and not to ourselves.
TO_THE_MAIL = (SMTPSenderRefused, SMTPRecipientRefused, SMTPDataError)
#: Codes which say that we should have logged in, or have done it wrongly, whatever they answer to (RFC 4954 6).
LOGIN = frozenset({530, 534, 535, 538})

NO_ADDRESS = "this is no address that a mail can be sent to"
NO_SMTPUTF8 = "the mail server does not offer SMTPUTF8, which an address with letters beyond ASCII before the @ needs"


class SmtpMail:
    """Sends by SMTP. The Message-ID is made from the idempotency key, so that a mail sent twice can be told as one.

    `tls`: from the first byte (smtps). Otherwise STARTTLS when the server offers it, with any certificate: better than
    none, and who could forge one could suppress the offer too (RFC 7435). With a user name TLS and a certificate that
    holds are a must.
    """

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
        self.lines = Lines(self._client)

    @classmethod
    def at(cls, mail: Mail) -> "SmtpMail":
        """The server that the settings name."""
        password = mail.password.get_secret_value() if mail.password else ""
        return cls(mail.host, mail.port, mail.sender, mail.user, password, mail.scheme == "smtps")

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        """Why it was refused for good, or None. Raises `Transient` when trying again may help (`Deferred` when the mail
        was certainly not accepted), `Permanent` when the server does not want to hear of us."""
        try:
            receiver = mailbox(to, local_names=True)
        except ValueError:
            return NO_ADDRESS
        try:
            async with self.lines.line() as client:
                return await self._hand_over(client, receiver, self.letter(key, to, subject, text))
        except SMTPResponseException as answer:
            return self._refused(answer, to, receiver)
        except (SMTPException, OSError) as error:
            raise Deferred(f"{self}: {_clean(str(error), to, receiver)}") from error

    async def close(self) -> None:
        """Close what is kept; call it when nothing is sent any more."""
        await self.lines.close()

    def letter(self, key: str, to: str, subject: str, text: str) -> EmailMessage:
        """The mail; nothing that it is given can become a header of its own."""
        message = EmailMessage()
        message["From"] = header_fields.address("From", self.sender.wire)
        message["To"] = header_fields.address("To", mailbox(to, local_names=True).wire)
        message["Subject"] = header_fields.subject(subject)
        message["Date"] = datetime.fromtimestamp(self.clock(), UTC)
        message["Message-ID"] = f"<{blake2b(key.encode(), digest_size=16).hexdigest()}@{self.sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
        message.set_content(text, cte="quoted-printable")  # plain ASCII on the wire: any server takes it
        return message

    async def _hand_over(self, client: SMTP, to: Mailbox, letter: EmailMessage) -> str | None:
        """One mail on a connection that is there."""
        utf8 = to.needs_smtputf8 or self.sender.needs_smtputf8
        if utf8 and not client.supports_extension("smtputf8"):
            if self.sender.needs_smtputf8:
                raise Permanent(f"{self} does not offer SMTPUTF8, which the sender needs (SAGA_MAIL, ?from=)")
            return NO_SMTPUTF8
        encoding, options, policy = ("utf-8", ["SMTPUTF8"], SMTPUTF8_POLICY) if utf8 else ("ascii", [], SMTP_POLICY)
        await client.mail(self.sender.wire, options=options, encoding=encoding)
        await client.rcpt(to.wire, encoding=encoding)
        try:
            await client.data(letter.as_bytes(policy=policy), timeout=ANSWER_S)
        except (SMTPServerDisconnected, SMTPTimeoutError, OSError) as error:
            problem = f"did not say whether it took the mail ({without_controls(str(error))}); it may have"
            raise Transient(f"{self} {problem}") from error
        return None

    def _refused(self, answer: SMTPResponseException, to: str, receiver: Mailbox) -> str:
        """The reason of a refusal for good."""
        said = f"{answer.code} {_clean(answer.message, to, receiver)}"
        if answer.code < 500:
            kind = Deferred if answer.code >= 400 else Transient  # less is no answer that SMTP knows
            raise kind(f"{self} answered {said}") from answer
        if not isinstance(answer, TO_THE_MAIL) or answer.code in LOGIN:
            raise Permanent(f"{self} takes no mail from us: {said}") from answer
        return said

    def _client(self) -> SMTP:
        name = socket.gethostname()  # never the DNS: that can take longer than the whole mail
        return SMTP(
            hostname=self.host,
            port=self.port,
            username=self.user,
            password=self.password if self.user else None,
            use_tls=self.tls,
            start_tls=True if self.user and not self.tls else None,
            validate_certs=self.tls or self.user is not None,
            local_hostname=name if "." in name and name.isascii() else "[127.0.0.1]",
            timeout=TIMEOUT_S,
        )

    def __str__(self) -> str:
        return f"the mail server {self.host}:{self.port}"


def _clean(text: str, to: str, receiver: Mailbox) -> str:
    """What a server said, as one short line that can be sent on: its bytes may be anything, and it likes to repeat the
    address, which nobody should find in a log."""
    line = " ".join(without_controls(text).split())
    spelled = "|".join(map(re.escape, (to, receiver.wire)))
    return re.sub(spelled, "(the address)", line, flags=re.IGNORECASE)[:300]
