"""The 2FA password: SRP, with fresh parameters for every try, five tries in all.

Source: https://core.telegram.org/api/srp
"""

from __future__ import annotations

from typing import Any

from telethon.password import compute_check
from telethon.tl.functions.account import GetPasswordRequest
from telethon.tl.functions.auth import CheckPasswordRequest

from app.errors import FloodWait, Transient
from app.logins.answers import next_answer, sit_out
from app.logins.conversation import Conversation, Standing
from app.logins.endings import LoginFailed
from app.telegram.errors import TelegramRefused

ATTEMPTS = 5
_STALE_PARAMETERS = ("SRP_ID_INVALID", "SRP_A_INVALID")
_STALE_TRIES = 3


async def ask_password(talk: Conversation) -> Standing:
    """Ask for the password until it is right.

    Raises:
        LoginFailed: ``password_attempts_exhausted``, or ``flood_wait`` when Telegram wants more than 60 s.
        whatever ``Conversation.call`` and ``wait`` and ``LoginRow.advance`` raise; it may be called again then: no attempt
            is lost.
    """
    hint = str((await talk.call(GetPasswordRequest())).hint or "") or None
    left = talk.login.password_attempts_left if talk.login.password_attempts_left is not None else ATTEMPTS
    await talk.row.advance(
        status="password_required", password_hint=hint, password_attempts_left=left, qr_expires_at=None
    )
    while left > 0:
        async with next_answer(talk, "password", attempts_left=left) as password:
            right = await _right(talk, password)
        if right:
            return Standing.AUTHORIZED
        left -= 1
        talk.log.info("login.password_wrong", attempts_left=left)
        if left:
            await talk.row.advance(password_attempts_left=left)
    raise LoginFailed("password_attempts_exhausted")


async def _right(talk: Conversation, password: str) -> bool:
    stale = 0
    while True:
        try:
            await _check(talk, password)
        except FloodWait as exc:
            await sit_out(talk, exc)
        except TelegramRefused as exc:
            if exc.error in ("PASSWORD_HASH_INVALID", "PASSWORD_EMPTY"):
                return False
            stale += 1
            if exc.error not in _STALE_PARAMETERS or stale >= _STALE_TRIES:
                raise
        else:
            return True


async def _check(talk: Conversation, password: str) -> Any:
    # Fresh parameters each time: the server forgets them after a use, and while somebody types.
    parameters = await talk.call(GetPasswordRequest())
    if not parameters.has_password:
        raise Transient("The account has no password any more.")  # begun again, the login finds out where it stands
    try:
        # 100,000 rounds of PBKDF2: not on the loop that thousands of logins share.
        proof = await talk.in_thread(compute_check, parameters, password)
    except (ValueError, TypeError, ArithmeticError) as exc:
        talk.log.warning("login.password_parameters_refused", algorithm=type(parameters.current_algo).__name__)
        raise LoginFailed("internal_error") from exc
    return await talk.call(CheckPasswordRequest(proof))
