"""E-mail addresses: which can be mailed, and how they are written on the wire. No network, no DNS."""

import re
from dataclasses import dataclass

import email_validator
from email_validator import EmailNotValidError, ValidatedEmail
from idna import IDNAError

#: Octets before the @ (RFC 5321, section 4.5.3.1.1).
LOCAL_MAX_BYTES = 64

# The library's list without the names that a company's own relay and test systems serve: local, localhost and test.
email_validator.SPECIAL_USE_DOMAIN_NAMES[:] = ["arpa", "invalid", "onion"]

#: Addresses that need no second look: the library accepts each of them as it is (a test holds it to that), and takes
#: a hundred times as long to say so.
_PLAIN = re.compile(
    r"(?=.{1,64}@.{1,63}\Z)[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+(?!arpa\Z|invalid\Z|onion\Z)[a-z]+"
)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address that can be mailed.

    `wire`: as it stands in the envelope and in headers. In ASCII if the part before the @ is: an international domain
    is then written in its A-labels (IDNA 2008), which every server takes. `domain`: its domain in ASCII.
    """

    wire: str
    domain: str

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only a server with SMTPUTF8 (RFC 6531) can take it: there are letters beyond ASCII before the @."""
        return not self.wire.isascii()


def mailbox(address: str, local_names: bool = False) -> Mailbox:
    """The mailbox of an address. Raises `ValueError` with the reason, which does not repeat the address.

    `local_names`: also of a host without a dot, such as localhost or mail: for our own sender, and for sagas that were
    accepted when this was allowed.
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
    _refuse_what_is_read_otherwise(found)
    return Mailbox(found.ascii_email or found.normalized, found.ascii_domain)


def _refuse_display_name(address: str) -> None:
    if address.endswith(">") and "<" in address:
        raise _not_mailable("it has a name or angle brackets around it; give the address alone")


def _refuse_what_is_read_otherwise(found: ValidatedEmail) -> None:
    """What the library accepts, but mail servers and mail programs do not, or take for something else."""
    if "=?" in found.local_part:
        raise _not_mailable("it has =? before the @-sign, which mail programs take for an encoded word")
    if (size := len(found.local_part.encode())) > LOCAL_MAX_BYTES:
        raise _not_mailable(f"it has {size} bytes before the @-sign; mail servers take {LOCAL_MAX_BYTES}")


def _reason(error: EmailNotValidError) -> str:
    """The library's sentence; what its IDNA part adds in parentheses repeats the input."""
    reason = str(error).rstrip(".")
    if isinstance(error.__cause__, IDNAError):
        reason = reason.partition(" (")[0]
    return reason[0].lower() + reason[1:]


def _not_mailable(reason: str) -> ValueError:
    return ValueError(f"is not an address that can be mailed: {reason}")
