"""Telegram's objects as the API shows them: users, authorizations, tokens.

Builds TL objects; decides nothing.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sandbox import tl
from sandbox.telegram import layers
from sandbox.telegram.login_tokens import LoggedIn, MigrateTo, Outcome, Waiting
from sandbox.telegram.model import Account, Authorization, CodeWay
from sandbox.telegram.phone_codes import CALLERS_PREFIX, EMAIL_PATTERN, SentCode

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


def sent_code(sent: SentCode, *, layer: int) -> Any:
    """Show where a login code went, or what Telegram wants first."""
    if sent.way is CodeWay.PAYMENT:
        return types.auth.SentCodePaymentRequired(
            store_product="sandbox.login_code",
            phone_code_hash=sent.phone_code_hash,
            support_email_address="support@example.com",
            support_email_subject="Login code",
            premium_days=7,
            currency="EUR",
            amount=99,
        )
    if sent.way is CodeWay.SUCCESS and sent.account is not None:
        return types.auth.SentCodeSuccess(authorization=logged_in(sent.account, layer=layer))
    return types.auth.SentCode(
        type=_SENT_TYPES[sent.way if sent.way in _SENT_TYPES else CodeWay.SMS](sent.code),
        phone_code_hash=sent.phone_code_hash,
        next_type=_NEXT_TYPES[sent.next_way]() if sent.next_way in _NEXT_TYPES else None,
        timeout=_NEXT_WAY_SECONDS if sent.next_way in _NEXT_TYPES and sent.way is not CodeWay.APP else None,
    )


_NEXT_WAY_SECONDS = 60  # apps wait that long before they offer the next way; here nobody is refused who does not
_NEXT_TYPES: dict[CodeWay | None, Any] = {
    CodeWay.SMS: types.auth.CodeTypeSms,
    CodeWay.CALL: types.auth.CodeTypeCall,
    CodeWay.FLASH_CALL: types.auth.CodeTypeFlashCall,
    CodeWay.MISSED_CALL: types.auth.CodeTypeMissedCall,
    CodeWay.FRAGMENT: types.auth.CodeTypeFragmentSms,
}


_SENT_TYPES: dict[CodeWay, Callable[[str], Any]] = {
    CodeWay.APP: lambda code: types.auth.SentCodeTypeApp(len(code)),
    CodeWay.SMS: lambda code: types.auth.SentCodeTypeSms(len(code)),
    CodeWay.CALL: lambda code: types.auth.SentCodeTypeCall(len(code)),
    CodeWay.FLASH_CALL: lambda _: types.auth.SentCodeTypeFlashCall(f"{CALLERS_PREFIX}*"),
    CodeWay.MISSED_CALL: lambda code: types.auth.SentCodeTypeMissedCall(CALLERS_PREFIX, len(code)),
    CodeWay.EMAIL: lambda code: types.auth.SentCodeTypeEmailCode(EMAIL_PATTERN, len(code)),
    CodeWay.EMAIL_SETUP: lambda _: types.auth.SentCodeTypeSetUpEmailRequired(),
    CodeWay.FRAGMENT: lambda code: types.auth.SentCodeTypeFragmentSms("https://fragment.com/", len(code)),
    CodeWay.FIREBASE: lambda code: types.auth.SentCodeTypeFirebaseSms(len(code), nonce=b"sandbox"),
    CodeWay.WORD: lambda code: types.auth.SentCodeTypeSmsWord(code[0]),
    CodeWay.PHRASE: lambda code: types.auth.SentCodeTypeSmsPhrase(code.split()[0]),
}
