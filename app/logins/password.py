"""The 2FA password: SRP, with fresh parameters for every try, five tries in all.

Source: https://core.telegram.org/api/srp
"""

from __future__ import annotations

from typing import Any

from telethon.password import compute_check
from telethon.tl.functions.account import GetPasswordRequest
from telethon.tl.functions.auth import CheckPasswordRequest

from app.errors import FloodWait, Transient
from app.logins.endings import LoginFailed
from app.logins.inbox import Inbox
from app.logins.link import Link
from app.logins.owned import OwnedLogin
from app.telegram.errors import TelegramRefused

ATTEMPTS = 5
_STALE_PARAMETERS = ("SRP_ID_INVALID", "SRP_A_INVALID")
_STALE_TRIES = 3


class PasswordCheck:
    """The phase in which Telegram waits for the account's 2FA password."""

    def __init__(self, owned: OwnedLogin, link: Link) -> None:
        self._owned = owned
        self._link = link
        self._inbox = Inbox(owned, link, "password")

    async def ask(self) -> None:
        """Ask the user for the password until it is right. May be called again after a break: no attempt is lost.

        Raises:
            LoginFailed: ``password_attempts_exhausted``, or ``flood_wait`` when Telegram wants more than 60 s.
            whatever ``Link.call``, ``Link.wait`` and ``OwnedLogin.advance`` raise.
        """
        owned = self._owned
        owned.note_scanned()
        hint = str((await self._link.call(GetPasswordRequest())).hint or "") or None
        kept = owned.login.password_attempts_left
        left = ATTEMPTS if kept is None else kept
        if owned.login.status != "password_required":
            owned.core.metrics.auth_qr_password.labels(tenant_id=owned.login.tenant_id).inc()
        await owned.advance(
            status="password_required", password_hint=hint, password_attempts_left=left, qr_expires_at=None
        )
        while left > 0:
            async with self._inbox.next_answer(attempts_left=left) as password:
                right = await self._is_right(password)
            if right:
                return
            left -= 1
            owned.log.info("login.password_wrong", attempts_left=left)
            if left:
                await owned.advance(password_attempts_left=left)
        raise LoginFailed("password_attempts_exhausted")

    async def _is_right(self, password: str) -> bool:
        stale = 0
        while True:
            try:
                await self._check(password)
            except FloodWait as exc:
                await self._inbox.sit_out(exc)
            except TelegramRefused as exc:
                if exc.error in ("PASSWORD_HASH_INVALID", "PASSWORD_EMPTY"):
                    return False
                stale += 1
                if exc.error not in _STALE_PARAMETERS or stale >= _STALE_TRIES:
                    raise
            else:
                return True

    async def _check(self, password: str) -> Any:
        # Fresh parameters each time: the server forgets them after a use, and while somebody types.
        parameters = await self._link.call(GetPasswordRequest())
        if not parameters.has_password:
            raise Transient("The account has no password any more.")  # the login then asks where its key stands
        try:
            # 100,000 rounds of PBKDF2: not on the loop that thousands of logins share.
            proof = await self._owned.in_thread(compute_check, parameters, password)
        except (ValueError, TypeError, ArithmeticError) as exc:
            algorithm = type(parameters.current_algo).__name__
            self._owned.log.warning("login.password_parameters_refused", algorithm=algorithm)
            raise LoginFailed("internal_error") from exc
        return await self._link.call(CheckPasswordRequest(proof))
