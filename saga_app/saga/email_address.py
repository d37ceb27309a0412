"""E-mail addresses: validation, and the form used on the wire. No network access, no DNS."""

import re
from dataclasses import dataclass

import email_validator
from email_validator import EmailNotValidError, ValidatedEmail
from idna import IDNAError

#: Octets before the @ (RFC 5321, section 4.5.3.1.1).
LOCAL_MAX_BYTES = 64

# The library's list, without the domains that internal relays and test systems use: local, localhost and test.
email_validator.SPECIAL_USE_DOMAIN_NAMES[:] = ["arpa", "invalid", "onion"]

#: Plain addresses, which need no further validation: the library accepts each of them unchanged (a test checks this),
#: but takes a hundred times as long.
_PLAIN = re.compile(
    r"(?=.{1,64}@.{1,63}\Z)[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+(?!arpa\Z|invalid\Z|onion\Z)[a-z]+"
)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A valid address.

    `wire`: the address as written in the envelope and in headers. It is ASCII if the part before the @ is: an
    international domain is then written with A-labels (IDNA 2008), which every server accepts. `domain`: the domain in
    ASCII.
    """

    wire: str
    domain: str

    @property
    def needs_smtputf8(self) -> bool:
        """Whether the address needs a server with SMTPUTF8 (RFC 6531), because the part before the @ is not ASCII."""
        return not self.wire.isascii()


def mailbox(address: str, local_names: bool = False) -> Mailbox:
    """Parse an address. Raises `ValueError` with the reason, which does not contain the address.

    `local_names`: also accept a host without a dot, such as localhost or mail. Used for the configured sender, and for
    sagas that were accepted when such addresses were allowed.
    """
    if _PLAIN.fullmatch(address):
        return Mailbox(address, address.rpartition("@")[2])
    _refuse_display_name(address)
    try:
        found = email_validator.validate_email(
            address, strict=True, check_deliverability=False, globally_deliverable=not local_names
        )
    except EmailNotValidError as error:
        raise _not_mailable(_reason(error)) from None
    _refuse_ambiguous(found)
    return Mailbox(found.ascii_email or found.normalized, found.ascii_domain)


def _refuse_display_name(address: str) -> None:
    if address.endswith(">") and "<" in address:
        raise _not_mailable("it has a name or angle brackets around it; give the address alone")


def _refuse_ambiguous(found: ValidatedEmail) -> None:
    """Raises `ValueError` for addresses that the library accepts, but mail servers or mail programs misinterpret."""
    if "=?" in found.local_part:
        raise _not_mailable("it has =? before the @-sign, which mail programs interpret as an encoded word")
    if (size := len(found.local_part.encode())) > LOCAL_MAX_BYTES:
        raise _not_mailable(f"it has {size} bytes before the @-sign; mail servers accept {LOCAL_MAX_BYTES}")


def _reason(error: EmailNotValidError) -> str:
    """The library's message without the input, which its IDNA part repeats in parentheses."""
    reason = str(error).rstrip(".")
    if isinstance(error.__cause__, IDNAError):
        reason = reason.partition(" (")[0]
    return reason[0].lower() + reason[1:]


def _not_mailable(reason: str) -> ValueError:
    return ValueError(f"is not a valid e-mail address: {reason}")
