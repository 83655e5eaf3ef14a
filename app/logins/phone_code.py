"""The phone-code phase, for people whose only device is the one in their hand: send a code, check it.

The code usually arrives in the Telegram app itself; ``app.logins.code_delivery`` knows the other ways. Where only an official
app could answer, the next way is asked for, once; if that is no better, the login ends with a reason of its own.

The phone number and Telegram's handle for the code (``phone_code_hash``) are sealed in the row together, so that another
worker can go on.

Source: https://core.telegram.org/api/auth
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from telethon.tl.functions.auth import ResendCodeRequest, SendCodeRequest, SignInRequest
from telethon.tl.types import CodeSettings, EmailVerificationCode
from telethon.tl.types.auth import (
    AuthorizationSignUpRequired,
    SentCode,
    SentCodePaymentRequired,
    SentCodeSuccess,
    SentCodeTypeSetUpEmailRequired,
)

from app.clock import rfc3339, utc_now
from app.errors import FloodWait, Transient
from app.logins.code_delivery import read_delivery, read_next_delivery
from app.logins.endings import LoginFailed
from app.logins.inbox import Inbox
from app.logins.link import KeyState, Link
from app.logins.owned import OwnedLogin
from app.logins.secrets import RESEND, phone_place
from app.logins.view import FailureReason
from app.telegram.errors import MigrateTo, PasswordNeeded, TelegramRefused
from app.vault.sealing import Sealed

ATTEMPTS = 5
_REFUSALS: dict[str, FailureReason] = {
    "PHONE_NUMBER_BANNED": "account_banned",
    "PHONE_NUMBER_INVALID": "phone_invalid",
    "PHONE_NUMBER_UNOCCUPIED": "phone_invalid",
    "PHONE_NUMBER_APP_SIGNUP_FORBIDDEN": "phone_invalid",
    "SMS_CODE_CREATE_FAILED": "code_undeliverable",
    "UPDATE_APP_TO_LOGIN": "code_undeliverable",
}
_CODE_IS_WRONG = ("PHONE_CODE_INVALID", "PHONE_CODE_EMPTY", "CODE_INVALID", "EMAIL_CODE_INVALID")
_CODE_IS_OLD = ("PHONE_CODE_EXPIRED", "EMAIL_VERIFY_EXPIRED")
_NO_OTHER_WAY = ("SEND_CODE_UNAVAILABLE", "PHONE_CODE_EXPIRED")


@dataclass(frozen=True)
class _Phone:
    """What the row keeps sealed: the number, and Telegram's handle once a code was sent."""

    number: str = field(repr=False)
    code_hash: str | None = field(default=None, repr=False)


class PhoneCode:
    """The phase in which a login code is on its way to the user, or typed."""

    def __init__(self, owned: OwnedLogin, link: Link) -> None:
        self._owned = owned
        self._link = link
        self._inbox = Inbox(owned, link, "code")

    async def sign_in(self) -> KeyState:
        """Send a code and ask for it until it is right. May be called again after a break.

        Returns:
            AUTHORIZED, or PASSWORD_PENDING when the account has a 2FA password.

        Raises:
            LoginFailed: ``phone_invalid``, ``account_banned``, ``code_attempts_exhausted``, ``code_undeliverable``,
                ``email_setup_required``, ``payment_required``, or ``flood_wait`` over 60 s.
            whatever ``Link.call``, ``Link.wait`` and ``OwnedLogin.advance`` raise.
        """
        phone = await self._owned.with_keys(self._open_phone)
        if phone.code_hash is None or self._link.key_is_new:
            phone = await self._send(phone)
        left = self._attempts_left()
        while left > 0:
            async with self._inbox.next_answer(attempts_left=left) as answer:
                if answer == RESEND:
                    phone = await self._resend(phone)
                    continue
                try:
                    return await self._check(phone, answer)
                except TelegramRefused as exc:
                    if exc.error in _CODE_IS_OLD:
                        phone = await self._send(phone)
                        continue
                    if exc.error not in _CODE_IS_WRONG:
                        raise
            left -= 1
            self._owned.log.info("login.code_wrong", attempts_left=left)
            if left:
                await self._owned.advance(code={**(self._owned.login.code or {}), "attempts_left": left})
        raise LoginFailed("code_attempts_exhausted")

    async def _send(self, phone: _Phone) -> _Phone:
        me = self._owned.identity
        request = SendCodeRequest(phone.number, me.api_id, me.api_hash, CodeSettings())
        while True:
            try:
                sent = await self._link.call(request)
            except FloodWait as exc:
                if self._owned.login.status != "code_required":
                    raise
                await self._inbox.sit_out(exc)  # the code that there was is dead: nobody could answer meanwhile
            except MigrateTo as exc:
                await self._link.move_to(exc.dc_id, call="auth.sendCode")
            except TelegramRefused as exc:
                _fail_if_final(exc)
                raise
            else:
                return await self._show(phone, sent)

    async def _resend(self, phone: _Phone) -> _Phone:
        """Have the code sent once more, by the next way. Where there is none for us, the login goes on with what was sent."""
        assert phone.code_hash is not None
        try:
            sent = await self._patiently(ResendCodeRequest(phone.number, phone.code_hash))
            return await self._show(phone, sent)
        except LoginFailed as exc:  # nobody could answer, or too long a wait: no reason to end a login that has a code
            why: str = exc.reason
        except TelegramRefused as exc:
            if exc.error == "PHONE_CODE_EXPIRED":
                return await self._send(phone)
            if exc.error != "SEND_CODE_UNAVAILABLE":
                raise
            why = exc.error
        self._owned.log.info("login.code_cannot_be_resent", why=why)
        await self._owned.advance(code={**(self._owned.login.code or {}), "no_other_way": True})
        return phone

    async def _show(self, phone: _Phone, sent: Any, *, last_way: bool = False) -> _Phone:
        """Keep what the code goes by, and tell the user where it went.

        Args:
            last_way: whether another way has been asked for already.
        """
        phone = replace(phone, code_hash=_code_hash(sent, self._link))
        delivery = read_delivery(sent.type)
        if delivery is None:
            self._owned.log.info("login.code_not_answerable", delivery=type(sent.type).__name__)
            if last_way:
                raise LoginFailed("code_undeliverable")
            return await self._show(phone, await self._ask_for_another_way(phone), last_way=True)
        sealed = await self._owned.with_keys(self._seal_phone, phone)
        await self._link.keep_auth_key(
            status="code_required",
            code=self._shown(sent, **delivery._asdict()),
            phone_sealed=sealed,
            retry_after_at=None,
        )
        self._owned.log.info("login.code_sent", delivery=delivery.delivery)
        return phone

    async def _ask_for_another_way(self, phone: _Phone) -> Any:
        try:
            return await self._link.call(ResendCodeRequest(phone.number, phone.code_hash))
        except TelegramRefused as exc:
            if exc.error in _NO_OTHER_WAY:
                raise LoginFailed("code_undeliverable") from exc
            raise

    def _shown(self, sent: Any, **delivery: Any) -> dict[str, Any]:
        """What the row says of the code; attempts that were made count on, whichever way the next code comes."""
        may_come_at = utc_now() + timedelta(seconds=sent.timeout) if sent.timeout else None
        return {
            **delivery,
            "attempts_left": self._attempts_left(),
            "next_delivery": read_next_delivery(sent),
            "resend_at": may_come_at and rfc3339(may_come_at),
        }

    async def _check(self, phone: _Phone, code: str) -> KeyState:
        self._owned.note_scanned()
        try:
            answer = await self._sign_in(phone, code)
        except PasswordNeeded:
            return KeyState.PASSWORD_PENDING
        except TelegramRefused as exc:
            _fail_if_final(exc)
            raise
        if isinstance(answer, AuthorizationSignUpRequired):
            raise LoginFailed("phone_invalid")
        self._link.note_accepted()
        return KeyState.AUTHORIZED

    async def _sign_in(self, phone: _Phone, code: str) -> Any:
        by_email = (self._owned.login.code or {}).get("delivery") == "email"
        answer = {"email_verification": EmailVerificationCode(code)} if by_email else {"phone_code": code}
        return await self._patiently(
            SignInRequest(phone_number=phone.number, phone_code_hash=phone.code_hash, **answer)
        )

    async def _patiently(self, request: Any) -> Any:
        """Make a call and sit its flood waits out: what the user typed, or asked for, is in nobody's hands but ours."""
        while True:
            try:
                return await self._link.call(request)
            except FloodWait as exc:
                await self._inbox.sit_out(exc)

    def _attempts_left(self) -> int:
        return int((self._owned.login.code or {}).get("attempts_left", ATTEMPTS))

    def _open_phone(self) -> _Phone:
        login = self._owned.login
        if login.phone_sealed is None:
            raise LoginFailed("internal_error")
        assert login.key_id is not None
        place = phone_place(login.tenant_id, login.id)
        number, code_hash = json.loads(self._owned.core.keyring.open(place, Sealed(login.key_id, login.phone_sealed)))
        return _Phone(number=number, code_hash=code_hash)

    def _seal_phone(self, phone: _Phone) -> bytes:
        login = self._owned.login
        assert login.key_id is not None
        text = json.dumps([phone.number, phone.code_hash]).encode()
        return self._owned.core.keyring.seal_under_key(login.key_id, phone_place(login.tenant_id, login.id), text)


def _fail_if_final(refused: TelegramRefused) -> None:
    """End the login when no code will ever serve.

    Raises:
        LoginFailed: it is so.
    """
    reason = _REFUSALS.get(refused.error)
    if reason is not None:
        raise LoginFailed(reason) from refused


def _code_hash(sent: Any, link: Link) -> str:
    """Telegram's handle for a code that was sent.

    Raises:
        LoginFailed: no code was sent, and none will be.
        Transient: none is needed: somebody is logged in.
    """
    if isinstance(sent, SentCodeSuccess):
        link.note_accepted()
        raise Transient("Telegram logged the phone in without a code.")  # asked again, it says who is logged in
    if isinstance(sent, SentCodePaymentRequired):
        raise LoginFailed("payment_required")
    if not isinstance(sent, SentCode):
        raise TelegramRefused(f"{type(sent).__name__} is not offered", method="auth.sendCode")
    if isinstance(sent.type, SentCodeTypeSetUpEmailRequired):
        raise LoginFailed("email_setup_required")
    return str(sent.phone_code_hash)
