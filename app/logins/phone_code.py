"""The phone-code conversation, for people whose only device is the one in their hand: send a code, check it.

The code usually arrives in the Telegram app itself. The phone number and Telegram's handle for the code (``phone_code_hash``)
are sealed in the row together, so that another worker can go on.

Source: https://core.telegram.org/api/auth
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession
from telethon.tl.functions.auth import ResendCodeRequest, SendCodeRequest, SignInRequest
from telethon.tl.types import CodeSettings
from telethon.tl.types.auth import (
    AuthorizationSignUpRequired,
    SentCode,
    SentCodeSuccess,
    SentCodeTypeApp,
    SentCodeTypeCall,
    SentCodeTypeEmailCode,
    SentCodeTypeFlashCall,
    SentCodeTypeFragmentSms,
    SentCodeTypeMissedCall,
    SentCodeTypeSms,
)

from app.errors import FloodWait, Transient
from app.logins.answers import next_answer, sit_out
from app.logins.conversation import Conversation, Standing
from app.logins.endings import LoginFailed
from app.logins.secrets import RESEND, phone_place
from app.logins.store import advance
from app.models import Login
from app.telegram.errors import MigrateTo, PasswordNeeded, TelegramRefused
from app.vault.sealing import Sealed

ATTEMPTS = 5
_DELIVERIES = {
    SentCodeTypeApp: "app",
    SentCodeTypeSms: "sms",
    SentCodeTypeCall: "call",
    SentCodeTypeFlashCall: "flash_call",
    SentCodeTypeMissedCall: "missed_call",
    SentCodeTypeEmailCode: "email",
    SentCodeTypeFragmentSms: "fragment",
}
_BAD_PHONES = ("PHONE_NUMBER_INVALID", "PHONE_NUMBER_UNOCCUPIED")


class _Phone(NamedTuple):
    """What the row keeps sealed: the number, and Telegram's handle once a code was sent."""

    number: str
    code_hash: str | None


async def sign_in_by_code(talk: Conversation) -> Standing:
    """Send a code and ask for it until it is right.

    Returns:
        AUTHORIZED, or PASSWORD when the account has a 2FA password.

    Raises:
        LoginFailed: ``phone_invalid``, ``account_banned``, ``code_attempts_exhausted``, or ``flood_wait`` over 60 s.
        whatever ``Conversation.call`` and ``wait`` and ``LoginRow.advance`` raise; it may be called again then.
    """
    phone = await talk.row.transact(lambda db: _read_phone(talk, db))
    if phone.code_hash is None or talk.key_is_new:
        phone = await _send(talk, phone)
    left = int((talk.login.code or {}).get("attempts_left", ATTEMPTS))
    while left > 0:
        async with next_answer(talk, "code", attempts_left=left) as answer:
            if answer == RESEND:
                phone = await _resend(talk, phone)
                continue
            try:
                return await _sign_in(talk, phone, answer)
            except TelegramRefused as exc:
                if exc.error == "PHONE_CODE_EXPIRED":
                    phone = await _send(talk, phone)
                    continue
                if exc.error not in ("PHONE_CODE_INVALID", "PHONE_CODE_EMPTY"):
                    raise
        left -= 1
        talk.log.info("login.code_wrong", attempts_left=left)
        if left:
            await talk.row.advance(code={**(talk.login.code or {}), "attempts_left": left})
    raise LoginFailed("code_attempts_exhausted")


async def _send(talk: Conversation, phone: _Phone) -> _Phone:
    me = talk.identity
    request = SendCodeRequest(phone.number, me.api_id, me.api_hash, CodeSettings())
    while True:
        try:
            sent = await talk.call(request)
        except MigrateTo as exc:
            await talk.move_to(exc.dc_id, call="auth.sendCode")
        except TelegramRefused as exc:
            if exc.error == "PHONE_NUMBER_BANNED":
                raise LoginFailed("account_banned") from exc
            if exc.error in _BAD_PHONES:
                raise LoginFailed("phone_invalid") from exc
            raise
        else:
            return await _show(talk, phone, sent)


async def _resend(talk: Conversation, phone: _Phone) -> _Phone:
    assert phone.code_hash is not None
    try:
        return await _show(talk, phone, await talk.call(ResendCodeRequest(phone.number, phone.code_hash)))
    except TelegramRefused as exc:
        if exc.error == "PHONE_CODE_EXPIRED":
            return await _send(talk, phone)
        if exc.error != "SEND_CODE_UNAVAILABLE":
            raise
        talk.log.info("login.code_cannot_be_resent")
        return phone


async def _show(talk: Conversation, phone: _Phone, sent: Any) -> _Phone:
    """Keep what the code goes by, then tell the user where it went."""
    if isinstance(sent, SentCodeSuccess):
        # Begun again, the login finds itself authorized.
        raise Transient("Telegram logged the phone in without a code.")
    if not isinstance(sent, SentCode):
        raise TelegramRefused(f"{type(sent).__name__} is not offered", method="auth.sendCode")
    assert talk.connection is not None
    await talk.row.keep_auth_key(talk.connection)
    phone = phone._replace(code_hash=str(sent.phone_code_hash))
    await talk.row.transact(lambda db: _write_phone(talk, db, phone))
    left = int((talk.login.code or {}).get("attempts_left", ATTEMPTS))
    await talk.row.advance(
        status="code_required",
        code={
            "delivery": _DELIVERIES.get(type(sent.type), "other"),
            "length": getattr(sent.type, "length", None),
            "attempts_left": left,
        },
        retry_after_at=None,
    )
    talk.log.info("login.code_sent")
    return phone


async def _sign_in(talk: Conversation, phone: _Phone, code: str) -> Standing:
    talk.signed()
    try:
        answer = await _check(talk, phone, code)
    except PasswordNeeded:
        return Standing.PASSWORD
    except TelegramRefused as exc:
        if exc.error == "PHONE_NUMBER_UNOCCUPIED":
            raise LoginFailed("phone_invalid") from exc
        raise
    if isinstance(answer, AuthorizationSignUpRequired):
        raise LoginFailed("phone_invalid")
    return Standing.AUTHORIZED


async def _check(talk: Conversation, phone: _Phone, code: str) -> Any:
    request = SignInRequest(phone_number=phone.number, phone_code_hash=phone.code_hash, phone_code=code)
    while True:
        try:
            return await talk.call(request)
        except FloodWait as exc:
            await sit_out(talk, exc)


def _read_phone(talk: Conversation, db: DatabaseSession) -> _Phone:
    row = db.execute(select(Login.key_id, Login.phone_sealed).where(Login.id == talk.login.id)).one()
    if row.phone_sealed is None:
        raise LoginFailed("internal_error")
    place = phone_place(talk.login.tenant_id, talk.login.id)
    number, code_hash = json.loads(talk.core.keyring.open(place, Sealed(row.key_id, row.phone_sealed)))
    return _Phone(number=number, code_hash=code_hash)


def _write_phone(talk: Conversation, db: DatabaseSession, phone: _Phone) -> None:
    key_id = db.scalar(select(Login.key_id).where(Login.id == talk.login.id).with_for_update())
    assert key_id is not None
    place = phone_place(talk.login.tenant_id, talk.login.id)
    sealed = talk.core.keyring.seal_under_key(key_id, place, json.dumps(phone).encode())
    advance(db, login_id=talk.login.id, epoch=talk.login.owner_epoch, public=False, phone_sealed=sealed)
