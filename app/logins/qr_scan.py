"""The QR phase: export a login token, show it, export again, until Telegram answers that somebody scanned it.

Every answer of ``auth.exportLoginToken`` and ``auth.importLoginToken`` is treated, at every call. ``updateLoginToken`` is only
a hint: the token is exported again on the hint, when it expires and every ``QR_POLL_SECONDS``, but less often in a worker that
holds thousands of logins.

Source: https://core.telegram.org/api/qr-login
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from redis.exceptions import RedisError
from telethon.tl.functions.auth import ExportLoginTokenRequest, ImportLoginTokenRequest
from telethon.tl.types.auth import LoginToken as ExportedToken
from telethon.tl.types.auth import LoginTokenMigrateTo, LoginTokenSuccess

from app.clock import utc_now
from app.errors import Transient, Unavailable
from app.logins.link import KeyState, Link
from app.logins.owned import OwnedLogin
from app.logins.secrets import LoginToken, seal_token
from app.redis_state import login_qr_key
from app.telegram.errors import MigrateTo, PasswordNeeded, TelegramRefused

_AFTER_EXPIRY_SECONDS = 0.25  # exported any earlier, it would be the same token once more
_USUAL_LIFE, _LONGEST_LIFE = timedelta(seconds=30), timedelta(seconds=600)
_POLLS_A_SECOND = 200  # of a worker: one that holds thousands of logins looks less often whether an update got lost
_SPREAD_SECONDS, _SPREAD_AMONG = 0.5, 5000  # the most that a renewal is put off by, and among how many neighbours
_POLL_STRETCH = 1.25  # a renewal that is due by then is the poll: it asks the same question
_PATIENCE_SECONDS = 0.05  # of each step of a poll or a renewal, so that thousands share round trips; a scan has none
_JUST_EXPIRED = timedelta(seconds=2)  # the server tells whole seconds
_TOKEN_IS_USED_UP = (
    "AUTH_TOKEN_EXPIRED",
    "AUTH_TOKEN_INVALID",
    "AUTH_TOKEN_INVALIDX",
    "AUTH_TOKEN_EXCEPTION",
    "AUTH_TOKEN_ALREADY_ACCEPTED",
)


@dataclass(frozen=True)
class _Move:
    """Where Telegram sends a login on, and the token to import there."""

    dc_id: int
    token: bytes = field(repr=False)


class QrScan:
    """The phase in which a QR code is on show.

    ``last_token_expires_at`` is when the newest token dies that Telegram gave us, shown or not; None before the first one.
    """

    def __init__(self, owned: OwnedLogin, link: Link) -> None:
        self.last_token_expires_at: datetime | None = None
        self._owned = owned
        self._link = link
        self._shown: LoginToken | None = None
        self._move: _Move | None = None  # that Telegram has begun, and not settled yet

    async def wait_for_scan(self) -> KeyState:
        """Show QR codes until one is scanned. May be called again after a break.

        Returns:
            AUTHORIZED, or PASSWORD_PENDING when the account has a 2FA password.

        Raises:
            whatever ``Link.call``, ``Link.wait`` and ``OwnedLogin.advance`` raise.
        """
        self._shown = None
        patience_seconds = 0.0
        while True:
            updates = self._link.token_updates
            exported = await self._export(patience_seconds=patience_seconds)
            if isinstance(exported, KeyState):
                self._owned.note_scanned()
                return exported
            # Redraw only when the bytes changed (before it expires, a token comes back as it was) or the picture was lost.
            if self._shown is None or exported.token != self._shown.token or self._owned.redis_forgot():
                await self._publish(exported)
                self._shown = exported
            await self._link.wait(self._look_again_in(exported.expires_at))
            patience_seconds = _PATIENCE_SECONDS
            if self._link.token_updates > updates:
                self._owned.note_scanned()
                patience_seconds = 0.0

    async def look_once(self) -> KeyState:
        """Ask Telegram once whether the code was scanned; nothing is shown.

        Raises:
            whatever ``Link.call`` raises.
        """
        exported = await self._export()
        return exported if isinstance(exported, KeyState) else KeyState.UNAUTHORIZED

    async def _export(self, *, patience_seconds: float = 0.0) -> LoginToken | KeyState:
        """Export a login token, following every move.

        Args:
            patience_seconds: as in ``PacedCaller.call``; a move has none.

        Returns:
            The token to show, or where the auth key stands if there is nothing to show any more.
        """
        try:
            if self._move is None:
                answer = await self._export_anywhere(patience_seconds=patience_seconds)
            else:
                answer = await self._follow(self._move)
            while isinstance(answer, LoginTokenMigrateTo):
                self._owned.note_scanned()
                # Noted before it is made: whatever breaks on the way, it is gone on with, and the scan is not lost.
                self._move = _Move(int(answer.dc_id), bytes(answer.token))
                answer = await self._follow(self._move)
        except PasswordNeeded:
            return KeyState.PASSWORD_PENDING
        return self._read(answer)

    async def _export_anywhere(self, *, patience_seconds: float = 0.0) -> Any:
        me = self._owned.identity
        request = ExportLoginTokenRequest(api_id=me.api_id, api_hash=me.api_hash, except_ids=[])
        while True:
            try:
                return await self._link.call(request, patience_seconds=patience_seconds)
            except MigrateTo as exc:
                await self._link.move_to(exc.dc_id, call="auth.exportLoginToken")

    async def _follow(self, move: _Move) -> Any:
        """Be at the move's data centre, with a key that the row keeps, and import its token there."""
        if self._link.dc_id != move.dc_id:
            await self._link.move_to(move.dc_id, call="auth.importLoginToken")
        else:
            await self._link.keep_auth_key()  # the row may not have taken it when the move was made
        return await self._import(move.token)

    async def _import(self, token: bytes) -> Any:
        """Import the token of a move. Telegram's answer settles it; when none came, the next connection imports it again."""
        try:
            answer = await self._link.call(ImportLoginTokenRequest(token=token))
        except PasswordNeeded:
            self._move = None
            raise
        except TelegramRefused as exc:
            self._move = None
            if exc.error not in _TOKEN_IS_USED_UP:
                raise
            # The move outlived the token, or an import whose answer was lost has used it: the new data centre knows.
            self._owned.log.info("login.token_used_up_in_move", error=exc.error)
            return await self._export_anywhere()
        self._move = None
        return answer

    async def _publish(self, token: LoginToken) -> None:
        """Show a token: have the row keep the auth key, put the sealed token into Redis, then say so in the row.

        Raises:
            Unavailable: PostgreSQL or Redis is away; nothing is shown, and it may be tried again.
        """
        owned, login = self._owned, self._owned.login
        first = login.published_at is None
        patience_seconds = 0.0 if first else _PATIENCE_SECONDS
        if not first:  # Redis alone makes this one visible; the first is seen only once the row says so, key and all
            await self._link.keep_auth_key()
        sealed = await owned.with_keys(
            seal_token, owned.core.keyring, tenant_id=login.tenant_id, login_id=login.id, token=token
        )
        life_seconds = (token.expires_at - utc_now()).total_seconds()
        try:
            life = max(1000, int(life_seconds * 1000))
            show = ("SET", login_qr_key(login.id), sealed, "PX", life)
            await owned.telegram.rounds.do(*show, patience_seconds=patience_seconds)
        except (RedisError, OSError) as exc:
            raise Unavailable("Redis cannot take the QR code.") from exc
        now = utc_now()
        await self._link.keep_auth_key(
            patience_seconds=patience_seconds,
            status="waiting_for_scan",
            qr_expires_at=token.expires_at,
            published_at=login.published_at or now,
            retry_after_at=None,
        )
        if first:
            metrics, seconds = owned.core.metrics, (now - login.created_at).total_seconds()
            metrics.auth_qr_published.labels(tenant_id=login.tenant_id).inc()
            metrics.time_to_qr_seconds.observe(seconds)
            owned.log.info("login.qr_published", seconds=round(seconds, 3))

    def _look_again_in(self, expires_at: datetime) -> float:
        neighbours = self._owned.neighbours()
        until_expiry = (expires_at - utc_now()).total_seconds() + after_expiry_seconds(neighbours)
        poll_seconds = max(self._owned.core.settings.qr_poll_seconds, neighbours / _POLLS_A_SECOND)
        return look_again_in(until_expiry=until_expiry, poll_seconds=poll_seconds)

    def _read(self, answer: Any) -> LoginToken | KeyState:
        match answer:
            case LoginTokenSuccess():
                self._link.note_accepted()
                return KeyState.AUTHORIZED
            case ExportedToken():
                token = LoginToken(token=bytes(answer.token), expires_at=self._expiry(answer))
                self.last_token_expires_at = token.expires_at
                return token
            case _:
                raise Transient(f"Telegram answered an export with {type(answer).__name__}.")

    def _expiry(self, token: Any) -> datetime:
        """When a token expires by our clock. A life that no token has means that the server's clocks disagree."""
        now = utc_now()
        expires_at: datetime = token.expires - timedelta(seconds=self._link.connection.server_time_offset_seconds)
        return expires_at if -_JUST_EXPIRED < expires_at - now < _LONGEST_LIFE else now + _USUAL_LIFE


def look_again_in(*, until_expiry: float, poll_seconds: float) -> float:
    """After how many seconds a token is exported again when nothing happens."""
    poll = until_expiry if until_expiry <= poll_seconds * _POLL_STRETCH else poll_seconds
    return max(_AFTER_EXPIRY_SECONDS, poll)


def after_expiry_seconds(neighbours: int, *, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """How long after its expiry a token is exported again.

    Tokens expire on whole seconds, and hundreds of a busy worker's on the same one.
    """
    return _AFTER_EXPIRY_SECONDS + uniform(0.0, min(_SPREAD_SECONDS, _SPREAD_SECONDS * neighbours / _SPREAD_AMONG))
