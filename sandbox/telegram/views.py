"""Telegram's objects as the API shows them: users, authorizations, tokens.

Builds TL objects; decides nothing.
"""

from datetime import UTC, datetime
from typing import Any

from sandbox import tl
from sandbox.telegram import layers
from sandbox.telegram.login_tokens import LoggedIn, MigrateTo, Outcome, Waiting
from sandbox.telegram.model import Account, Authorization
from sandbox.telegram.phone_codes import CODE_DIGITS, SentCode

types = tl.types


def date(timestamp: float) -> datetime:
    """Return Unix time as Telethon's classes want it."""
    return datetime.fromtimestamp(timestamp, UTC)


def user(account: Account, *, layer: int) -> Any:
    """Show an account to itself, in words of the client's layer."""
    shown = types.User(
        id=account.user_id,
        is_self=True,
        contact=True,
        mutual_contact=True,
        access_hash=account.access_hash,
        first_name=account.first_name,
        username=account.username,
        phone=account.phone,
    )
    return layers.user_for(layer, shown)


def full_user(account: Account, *, layer: int) -> Any:
    """Show an account's profile to itself."""
    profile = types.UserFull(
        id=account.user_id,
        settings=types.PeerSettings(),
        notify_settings=types.PeerNotifySettings(),
        common_chats_count=0,
        can_pin_message=True,
    )
    return types.users.UserFull(full_user=profile, chats=[], users=[user(account, layer=layer)])


def logged_in(account: Account, *, layer: int) -> Any:
    """Show the end of a login."""
    return types.auth.Authorization(user=user(account, layer=layer))


def authorization(shown: Authorization, *, is_current: bool) -> Any:
    """Show one active session. The current one has hash 0, as it cannot be terminated by it."""
    return types.Authorization(
        hash=0 if is_current else shown.hash,
        device_model=shown.device_model,
        platform="",
        system_version=shown.system_version,
        api_id=shown.api_id,
        app_name="Sandbox client",
        app_version=shown.app_version,
        date_created=date(shown.created_at),
        date_active=date(shown.active_at),
        ip="127.0.0.1",
        country="",
        region="",
        current=is_current or None,
        password_pending=shown.password_pending or None,
    )


def login_token(outcome: Outcome, *, layer: int) -> Any:
    """Show how a QR login stands."""
    match outcome:
        case Waiting(token):
            return types.auth.LoginToken(expires=date(token.expires_at), token=token.token)
        case MigrateTo(dc_id, token_bytes):
            return types.auth.LoginTokenMigrateTo(dc_id=dc_id, token=token_bytes)
        case LoggedIn(account):
            return types.auth.LoginTokenSuccess(authorization=logged_in(account, layer=layer))


def sent_code(sent: SentCode) -> Any:
    """Show where a login code went."""
    by_app = sent.delivery == "app"
    return types.auth.SentCode(
        type=types.auth.SentCodeTypeApp(CODE_DIGITS) if by_app else types.auth.SentCodeTypeSms(CODE_DIGITS),
        phone_code_hash=sent.phone_code_hash,
        next_type=types.auth.CodeTypeSms() if by_app else None,
    )
