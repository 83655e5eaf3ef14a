"""How Telegram sent a login code, what the user has to look for, and whether an answer is possible at all.

Source: https://core.telegram.org/api/auth#sending-a-verification-code
"""

from __future__ import annotations

from typing import Any, NamedTuple

from telethon.tl.types.auth import (
    CodeTypeCall,
    CodeTypeFlashCall,
    CodeTypeFragmentSms,
    CodeTypeMissedCall,
    CodeTypeSms,
    SentCodeTypeApp,
    SentCodeTypeCall,
    SentCodeTypeEmailCode,
    SentCodeTypeFlashCall,
    SentCodeTypeFragmentSms,
    SentCodeTypeMissedCall,
    SentCodeTypeSms,
    SentCodeTypeSmsPhrase,
    SentCodeTypeSmsWord,
)

_BY_LENGTH = {
    SentCodeTypeApp: "app",
    SentCodeTypeSms: "sms",
    SentCodeTypeCall: "call",
    SentCodeTypeFragmentSms: "fragment",
}


_NEXT = {
    CodeTypeSms: "sms",
    CodeTypeCall: "call",
    CodeTypeFlashCall: "flash_call",
    CodeTypeMissedCall: "missed_call",
    CodeTypeFragmentSms: "fragment",
}


class CodeDelivery(NamedTuple):
    """What a user needs to know to find a code.

    Args:
        delivery: ``app``, ``sms``, ``call``, ``fragment``, ``email``, ``missed_call``, ``flash_call``, ``word`` or ``phrase``.
        length: how many digits (or letters) the code has; None when that is not known.
        beginning: how a word or a phrase begins.
        pattern: where it went: the e-mail address with its middle hidden, or how the caller's number looks.
    """

    delivery: str
    length: int | None = None
    beginning: str | None = None
    pattern: str | None = None


def read_delivery(sent_type: Any) -> CodeDelivery | None:
    """Read the ``type`` of an ``auth.sentCode``.

    Returns:
        None when a user cannot answer it: only an official app can (Firebase), or it is of a kind that we do not know.
    """
    match sent_type:
        case SentCodeTypeApp() | SentCodeTypeSms() | SentCodeTypeCall() | SentCodeTypeFragmentSms():
            return CodeDelivery(_BY_LENGTH[type(sent_type)], length=sent_type.length)
        case SentCodeTypeEmailCode():
            return CodeDelivery("email", length=sent_type.length, pattern=sent_type.email_pattern)
        case SentCodeTypeMissedCall():  # the code is the last digits of the caller's number
            return CodeDelivery("missed_call", length=sent_type.length, pattern=sent_type.prefix)
        case SentCodeTypeFlashCall():  # the code is the caller's whole number
            return CodeDelivery("flash_call", pattern=sent_type.pattern)
        case SentCodeTypeSmsWord():
            return CodeDelivery("word", beginning=sent_type.beginning)
        case SentCodeTypeSmsPhrase():
            return CodeDelivery("phrase", beginning=sent_type.beginning)
        case _:
            return None


def read_next_delivery(sent_code: Any) -> str | None:
    """Read by which way an ``auth.sentCode`` says that the code would come next: a ``delivery``; None: it does not say."""
    return _NEXT.get(type(sent_code.next_type))
