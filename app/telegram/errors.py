"""Telegram's errors in our words: one class for each thing that a caller can do about one.

``app.telegram.translation`` makes them of Telethon's. Nothing here knows Telethon: the web process starts without it.
"""

from __future__ import annotations

from app.errors import AppError, Permanent, Transient

DEATHS = {
    "AUTH_KEY_UNREGISTERED": "auth_key_unregistered",
    "AUTH_KEY_INVALID": "auth_key_unregistered",
    "AUTH_KEY_PERM_EMPTY": "auth_key_unregistered",
    "SESSION_REVOKED": "session_revoked",
    "SESSION_EXPIRED": "session_expired",
    "USER_DEACTIVATED": "user_deactivated",
    "USER_DEACTIVATED_BAN": "user_deactivated_ban",
    "AUTH_KEY_DUPLICATED": "auth_key_duplicated",
}
"""RPC errors that say an authorization is over, and the cause as sessions store it.

Source: https://core.telegram.org/api/errors
"""


class TelegramRefused(Permanent):
    """Raised when Telegram refuses a call for a reason that the caller must look at.

    Args:
        error: the RPC error's name, such as ``AUTH_TOKEN_EXPIRED``.
    """

    code = "telegram_refused"

    def __init__(self, error: str, *, method: str) -> None:
        super().__init__(f"Telegram refused {method}: {error}")
        self.error = error
        self.method = method


class PasswordNeeded(AppError):
    """Raised when the account's 2FA password is wanted before anything else (SESSION_PASSWORD_NEEDED)."""

    code = "password_needed"


class NotAuthorized(Permanent):
    """Raised when the auth key is (no longer) authorized.

    Args:
        cause: one of the values of ``DEATHS``.
    """

    code = "not_authorized"

    def __init__(self, cause: str) -> None:
        super().__init__(f"Telegram says that this auth key is not authorized: {cause}")
        self.cause = cause

    @property
    def ambiguous(self) -> bool:
        """Whether Telegram says this falsely at times: for 1-2 s after a move, and now and then for seconds."""
        return self.cause == DEATHS["AUTH_KEY_UNREGISTERED"]


class MigrateTo(AppError):
    """Raised when the call must be made at another data centre (PHONE_MIGRATE_X and its kin)."""

    code = "migrate"

    def __init__(self, dc_id: int) -> None:
        super().__init__(f"This belongs to data centre {dc_id}")
        self.dc_id = dc_id


class ConnectionLost(Transient):
    """Raised when the connection ended, could not be made, or gave no answer in time. Nothing is known of the call."""

    code = "connection_lost"


class AnswerTimeout(ConnectionLost):
    """Raised when Telegram gave no answer within the time limit."""

    code = "answer_timeout"
