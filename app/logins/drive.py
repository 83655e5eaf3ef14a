"""Driving a login: from wherever it stands to an account that is logged in, through lost connections and outages.

Everything in it can be repeated: after any break it connects again, asks Telegram where the auth key stands, and goes on from
there. The phases (QR code, phone code, password) keep their own state over a break.
"""

from __future__ import annotations

import time

from app.errors import FloodWait, Transient, Unavailable
from app.logins.endings import LoginExpired, LoginFailed
from app.logins.link import KeyState, Link, fail_if_account_is_dead
from app.logins.owned import OwnedLogin
from app.logins.password import PasswordCheck
from app.logins.phone_code import PhoneCode
from app.logins.qr_scan import QrScan
from app.logins.view import FailureReason
from app.sessions.claim import Account
from app.telegram.errors import MigrateTo, NotAuthorized, PasswordNeeded, TelegramRefused

_CALM_SECONDS = 30.0  # without a failure for that long, the next one is a first one again
_REFUSALS: dict[str, FailureReason] = {
    "API_ID_INVALID": "api_id_invalid",
    "API_ID_PUBLISHED_FLOOD": "api_id_invalid",
    "PHONE_NUMBER_BANNED": "account_banned",
    "PHONE_NUMBER_INVALID": "phone_invalid",
    "PHONE_NUMBER_FLOOD": "flood_wait",
    "PHONE_PASSWORD_FLOOD": "flood_wait",
}


class Drive:
    """One login's way to its account. Lives on the loop."""

    def __init__(self, owned: OwnedLogin, link: Link) -> None:
        self.qr_scan = QrScan(owned, link)
        self._phone_code = PhoneCode(owned, link)
        self._password = PasswordCheck(owned, link)
        self._owned = owned
        self._link = link
        self._failed_at = 0.0

    @property
    def in_trouble(self) -> bool:
        """Whether something was away since Telegram last answered: somebody may have scanned, and nobody asked."""
        return max(self._failed_at, self._link.asked_at) > self._link.answered_at

    async def to_account(self) -> Account:
        """Go on until Telegram says who is logged in.

        Raises:
            FloodWait: Telegram wants a pause that nobody has to be kept waiting for.
            LoginExpired, LoginFailed: the login cannot succeed any more.
            LoginOver, OwnershipLost, HandOver: it is not this worker's to go on with.
        """
        failures, failed_at = 0, 0.0
        self._failed_at = 0.0
        while True:
            try:
                await self._link.connect()
                return await self._try_once()
            except FloodWait:
                raise
            except Unavailable as exc:
                self._owned.log.warning("login.waits_for_storage", detail=exc.detail)
            except Transient as exc:
                if failures == 0:  # an outage is said once by each login, not at every try
                    self._owned.log.info("login.connection_lost", detail=exc.detail)
                await self._link.disconnect()
            except NotAuthorized as exc:
                await self._change_auth_key(exc)
            except (PasswordNeeded, MigrateTo) as exc:
                # Said where it was not to be expected: the question where the key stands will be answered with it too.
                self._owned.log.info("login.begins_again", detail=exc.detail)
                await self._link.disconnect()
            except TelegramRefused as exc:
                self._owned.log.warning("login.refused", error=exc.error, method=exc.method)
                raise LoginFailed(_REFUSALS.get(exc.error, "internal_error")) from exc
            failures = failures + 1 if time.monotonic() - failed_at < _CALM_SECONDS else 0
            failed_at = self._failed_at = time.monotonic()
            await self._link.pause(failures)

    async def _try_once(self) -> Account:
        """Go from where the auth key stands now to the account."""
        state = KeyState.UNAUTHORIZED if self._link.key_is_new else await self._link.ask_key()
        if self._owned.remaining_seconds() <= 0:
            state = await self._last_look(state)
        if state is KeyState.UNAUTHORIZED:
            by_code = self._owned.login.method == "code"
            state = await (self._phone_code.sign_in() if by_code else self.qr_scan.wait_for_scan())
        if state is KeyState.PASSWORD_PENDING:
            await self._password.ask()
            self._link.note_accepted()
        if self._link.account is None and await self._link.ask_key() is not KeyState.AUTHORIZED:
            raise Transient("Telegram said that the login succeeded, and then that it had not.")
        assert self._link.account is not None
        return self._link.account

    async def _last_look(self, state: KeyState) -> KeyState:
        """See whether somebody scanned before the end, while no worker was there: some keys are authorized by an export only.

        Raises:
            LoginExpired: nobody did, or a password would be needed that nobody has the time to type.
        """
        if state is KeyState.UNAUTHORIZED and self._owned.login.published_at is not None:
            state = await self.qr_scan.look_once()
        if state is not KeyState.AUTHORIZED:
            raise LoginExpired
        return state

    async def _change_auth_key(self, error: NotAuthorized) -> None:
        """Go on with a new auth key, because Telegram does not know the present one (any more)."""
        fail_if_account_is_dead(error)
        self._owned.log.info("login.auth_key_dead", cause=error.cause)
        try:
            await self._link.drop_auth_key(known_dead=not error.ambiguous)
        except Unavailable as exc:
            self._owned.log.warning("login.waits_for_storage", detail=exc.detail)
