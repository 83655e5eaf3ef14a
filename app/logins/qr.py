"""The QR conversation: export a login token, show it, export again, until Telegram answers that somebody scanned it.

Every answer of ``auth.exportLoginToken`` and ``auth.importLoginToken`` is treated, at every call. ``updateLoginToken`` is only
a hint: the token is exported again on the hint, when it expires and every ``QR_POLL_SECONDS``.

Source: https://core.telegram.org/api/qr-login
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from redis.exceptions import RedisError
from telethon.tl.functions.auth import ExportLoginTokenRequest, ImportLoginTokenRequest
from telethon.tl.types.auth import LoginToken as ExportedToken
from telethon.tl.types.auth import LoginTokenMigrateTo, LoginTokenSuccess

from app.clock import utc_now
from app.errors import Transient, Unavailable
from app.logins.conversation import Conversation, Standing
from app.logins.secrets import LoginToken, seal_token
from app.redis_state import login_qr_key
from app.telegram.errors import MigrateTo, PasswordNeeded, TelegramRefused

_AFTER_EXPIRY_SECONDS = 0.25  # exported any earlier, it would be the same token once more
_USUAL_LIFE, _LONGEST_LIFE = timedelta(seconds=30), timedelta(seconds=600)
_JUST_EXPIRED = timedelta(seconds=2)  # the server tells whole seconds
_TOKEN_IS_GONE = ("AUTH_TOKEN_EXPIRED", "AUTH_TOKEN_INVALID", "AUTH_TOKEN_INVALIDX", "AUTH_TOKEN_EXCEPTION")


async def scan(talk: Conversation) -> Standing:
    """Show QR codes until one is scanned.

    Returns:
        AUTHORIZED, or PASSWORD when the account has a 2FA password.

    Raises:
        whatever ``Conversation.call`` and ``wait`` and ``LoginRow.advance`` raise; it may be called again then.
    """
    shown: LoginToken | None = None
    while True:
        talk.hinted = False
        exported = await export(talk)
        if isinstance(exported, Standing):
            talk.signed()
            return exported
        # Redraw only when the bytes changed (before it expires, a token comes back as it was) or the picture was lost.
        if shown is None or exported.token != shown.token or talk.redis_forgot():
            await publish(talk, exported)
            shown = exported
        until_expiry = (shown.expires_at - utc_now()).total_seconds() + _AFTER_EXPIRY_SECONDS
        await talk.wait(max(_AFTER_EXPIRY_SECONDS, min(until_expiry, talk.core.settings.qr_poll_seconds)))
        if talk.hinted:
            talk.signed()


async def export(talk: Conversation) -> LoginToken | Standing:
    """Export a login token, following every migration.

    Returns:
        The token to show, or where the auth key stands if there is nothing to show any more.
    """
    try:
        answer = await (_export_anywhere(talk) if talk.import_token is None else _import(talk, talk.import_token))
        while isinstance(answer, LoginTokenMigrateTo):
            talk.signed()
            await talk.move_to(int(answer.dc_id), call="auth.importLoginToken")
            talk.import_token = bytes(answer.token)
            answer = await _import(talk, talk.import_token)
    except PasswordNeeded:
        return Standing.PASSWORD
    return _read(talk, answer)


async def publish(talk: Conversation, token: LoginToken) -> None:
    """Show a token: keep the auth key, put the sealed token into Redis, then say so in the row.

    Raises:
        Unavailable: PostgreSQL or Redis is away; nothing is shown, and it may be tried again.
    """
    assert talk.connection is not None
    login, first = talk.login, talk.login.published_at is None
    if not first:  # Redis alone makes this one visible; the first is seen only once the row says so, key and all
        await talk.row.keep_auth_key(talk.connection)
    sealed = await talk.in_thread(
        seal_token, talk.core.keyring, tenant_id=login.tenant_id, login_id=login.id, token=token
    )
    life_seconds = (token.expires_at - utc_now()).total_seconds()
    try:
        await talk.redis.set(login_qr_key(login.id), sealed, px=max(1000, int(life_seconds * 1000)))
    except (RedisError, OSError) as exc:
        raise Unavailable("Redis cannot take the QR code.") from exc
    now = utc_now()
    await talk.row.advance(
        keeping=talk.connection,
        status="waiting_for_scan",
        qr_expires_at=token.expires_at,
        published_at=login.published_at or now,
        retry_after_at=None,
    )
    if first:
        talk.core.metrics.auth_qr_published.labels(tenant_id=login.tenant_id).inc()
        talk.core.metrics.time_to_qr_seconds.observe((now - login.created_at).total_seconds())
        talk.log.info("login.qr_published", seconds=round((now - login.created_at).total_seconds(), 3))


async def _export_anywhere(talk: Conversation) -> Any:
    me = talk.identity
    request = ExportLoginTokenRequest(api_id=me.api_id, api_hash=me.api_hash, except_ids=[])
    while True:
        try:
            return await talk.call(request)
        except MigrateTo as exc:
            await talk.move_to(exc.dc_id, call="auth.exportLoginToken")


async def _import(talk: Conversation, token: bytes) -> Any:
    """Import the token of a move. Telegram's answer settles it; when none came, the next connection imports it again."""
    try:
        answer = await talk.call(ImportLoginTokenRequest(token=token))
    except PasswordNeeded:
        talk.import_token = None
        raise
    except TelegramRefused as exc:
        talk.import_token = None
        if exc.error not in _TOKEN_IS_GONE:
            raise
        # The move outlived the token: the person scans once more, with a token of the new data centre.
        talk.log.info("login.token_died_in_migration", error=exc.error)
        return await _export_anywhere(talk)
    talk.import_token = None
    return answer


def _read(talk: Conversation, answer: Any) -> LoginToken | Standing:
    match answer:
        case LoginTokenSuccess():
            return Standing.AUTHORIZED
        case ExportedToken():
            return LoginToken(token=bytes(answer.token), expires_at=_expiry(talk, answer))
        case _:
            raise Transient(f"Telegram answered an export with {type(answer).__name__}.")


def _expiry(talk: Conversation, token: Any) -> datetime:
    """When a token expires by our clock. A life that no token has means that the server's clocks disagree."""
    assert talk.connection is not None
    now = utc_now()
    expires_at: datetime = token.expires - timedelta(seconds=talk.connection.server_time_offset_seconds)
    return expires_at if -_JUST_EXPIRED < expires_at - now < _LONGEST_LIFE else now + _USUAL_LIFE
