"""Real e-mail by SMTP."""

from email.message import EmailMessage
from hashlib import blake2b

import aiosmtplib

from saga_app.saga.retry import Transient

#: Seconds that the server may take for one command.
TIMEOUT_S = 10.0


class SmtpMail:
    """Sends by SMTP. The Message-ID is made from the idempotency key, so that a mail sent twice can be told as one.

    A 4xx answer or a connection that fails may be tried again; a 5xx answer is a refusal for good (RFC 5321 §4.2.1).
    """

    def __init__(self, host: str, port: int, sender: str = "onboarding@localhost") -> None:
        self.host, self.port, self.sender = host, port, sender

    async def send(self, key: str, to: str, subject: str, text: str) -> str | None:
        """Why the server refused it for good, or None. Raises `Transient` when trying again may help."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, to, subject
        message["Message-ID"] = f"<{blake2b(key.encode(), digest_size=16).hexdigest()}@saga>"
        message.set_content(text)
        try:
            await aiosmtplib.send(message, hostname=self.host, port=self.port, timeout=TIMEOUT_S)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _refused(error.recipients[0])
        except aiosmtplib.SMTPResponseException as error:
            return _refused(error)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Transient(f"the mail server {self.host}:{self.port}: {error}") from error
        return None


def _refused(answer: aiosmtplib.SMTPResponseException) -> str:
    if answer.code < 500:
        raise Transient(f"the mail server answered {answer.code} {answer.message}") from answer
    return f"{answer.code} {answer.message}"
