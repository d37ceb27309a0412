"""Validation of e-mail addresses, and their form on the wire."""

import pytest
from email_validator import validate_email
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga import email_address
from saga_app.saga.email_address import mailbox

INVALID = [
    "try..this.@docomo.example",
    ".x@example.com",
    "x.@example.com",
    '"ab"@example.com',
    '"a b"@example.com',
    "a,b@example.com",
    "jo@example.com.",
    "jo@.example.com",
    "jo@example..com",
    "jo@-example.com",
    "jo@example-.com",
    "jo@exam_ple.com",
    "jo@exam ple.com",
    "Ada <ada@example.com>",
    "<ada@example.com>",
    "ada@example.com, bob@example.com",
    "ada@example.com;bob@example.com",
    "jo(comment)@example.com",
    "jo@[127.0.0.1]",
    "jo@[IPv6:::1]",
    "jo@127.0.0.1",
    "jo@localhost",
    "jo@gmail",
    "jo@x.invalid",
    "jo@x.onion",
    "jo",
    "jo@",
    "@example.com",
    "jo@@example.com",
    "a@b@example.com",
    "a\u200b@example.com",
    "a\u202eb@example.com",
    "jo@exa\u00admple.com\u200b.",
    "mailto:jo@example.com",
    "jo\\@example.com",
    "jo:x@example.com",
    "jo[x]@example.com",
    "jo@example.com\r\nBcc: x@example.com",
    "a\0b@example.com",
    "=?utf-8?q?a?=@example.com",
    "jo＠example.com",
    "jo@☃.example",
    "jo@xn--zzzz.example",
    "jo@ab--cd.example",
    "jo@a.٣",
    "a" * 65 + "@example.com",
    "ä" * 33 + "@example.com",
    "a@" + "b" * 64 + ".example",
    "a@" + "ü" * 60 + ".example",
    "a" * 60 + "@" + ".".join(["b" * 60] * 4),
]
VALID = [
    "ada@example.com",
    "Ada.Lovelace+onboarding@EXAMPLE.com",
    "o'brien@example.com",
    "x_y-z@a-b.example",
    "ada@mail.test",
    "ada@corp.local",
    "a/b=c!d#e$f%g&h*i?j^k`l{m|n}o~p@example.com",
    "jo@bücher.example",
    "jörg@example.com",
    "ада@пример.рф",
    "用户@例え.テスト",
    "1@2.example",
    "a" * 64 + "@example.com",
    "ä" * 32 + "@example.com",
    "a@" + "b" * 63 + ".example",
]


@pytest.mark.field(8)
@pytest.mark.parametrize("text", INVALID, ids=lambda text: ascii(text)[:40])
def test_an_invalid_address_is_rejected_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a valid e-mail address: .{10}"):
        mailbox(text)


@pytest.mark.field(8)
@pytest.mark.parametrize("text", VALID, ids=lambda text: ascii(text)[:40])
def test_a_valid_address_is_accepted(text: str) -> None:
    found = mailbox(text)
    assert found.domain.isascii()
    assert found.needs_smtputf8 == (not text.rpartition("@")[0].isascii())
    assert mailbox(found.wire) == found


def test_only_the_sender_of_our_own_mails_may_be_at_a_local_host() -> None:
    assert mailbox("onboarding@localhost", local_names=True).wire == "onboarding@localhost"
    with pytest.raises(ValueError, match="period"):
        mailbox("onboarding@localhost")


#: Plain addresses, which the fast path accepts.
PLAIN_ADDRESS = r"[a-z0-9_+-]{1,9}(\.[a-z0-9_+-]{1,9}){0,3}@([a-z0-9]{1,5}(-[a-z0-9]{1,5}){0,2}\.){1,3}[a-z]{1,8}"


@given(st.from_regex(PLAIN_ADDRESS, fullmatch=True))
def test_the_fast_path_agrees_with_email_validator(text: str) -> None:
    assert email_address._PLAIN.fullmatch(text)
    found = validate_email(text, strict=True, check_deliverability=False)
    assert (found.ascii_email, found.ascii_domain, found.normalized) == (mailbox(text).wire, mailbox(text).domain, text)


@given(st.text(max_size=60) | st.emails() | st.builds(str.__add__, st.text(max_size=20), st.just("@example.com")))
def test_the_reason_of_a_rejection_does_not_contain_the_text(text: str) -> None:
    reason = ""
    try:
        assert mailbox(text).wire
    except ValueError as error:
        reason = str(error)
    assert len(text) < 8 or text not in reason
