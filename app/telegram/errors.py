"""Telegram's errors in our words: one class for each thing that a caller can do about one."""

from __future__ import annotations

import re

from telethon import errors as telethon_errors

from app.errors import AppError, FloodWait, Permanent, Transient

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

_PASSING = frozenset(
    {"TIMEOUT", "AUTH_RESTART", "RPC_CALL_FAIL", "RPC_MCGET_FAIL", "WORKER_BUSY_TOO_LONG_RETRY", "MSG_WAIT_FAILED"}
    | {"MSG_WAIT_TIMEOUT", "CONNECTION_NOT_INITED", "CONNECTION_LAYER_INVALID"}  # said well on a new connection
)


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


def translate(error: BaseException, *, method: str) -> AppError:
    """Turn what Telethon raised into one of ours; raise it ``from`` the original."""
    # FLOOD_WAIT_X, FLOOD_PREMIUM_WAIT_X and their kin: all say how long.
    if isinstance(error, telethon_errors.FloodError) and isinstance(seconds := getattr(error, "seconds", None), int):
        return FloodWait(method=method, wait_seconds=float(max(1, seconds)))
    if isinstance(error, telethon_errors.InvalidDCError) and getattr(error, "new_dc", None):
        return MigrateTo(int(error.new_dc))
    if isinstance(error, telethon_errors.AuthKeyNotFound):
        return NotAuthorized(DEATHS["AUTH_KEY_UNREGISTERED"])
    if isinstance(error, telethon_errors.RPCError):
        return _translate_rpc(error, method=method)
    if isinstance(error, OSError | EOFError | telethon_errors.InvalidBufferError | telethon_errors.SecurityError):
        return ConnectionLost(f"The connection to Telegram ended during {method} ({type(error).__name__}).")
    return Transient(f"{method} failed ({type(error).__name__}).")


def rpc_name(error: telethon_errors.RPCError) -> str:
    """The RPC error's name as Telegram sends it. Telethon keeps only a class for those that it knows."""
    if type(error).__module__ == "telethon.errors.rpcerrorlist":
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).upper()
    return str(error.message)


def _translate_rpc(error: telethon_errors.RPCError, *, method: str) -> AppError:
    name = rpc_name(error)
    if name == "SESSION_PASSWORD_NEEDED":
        return PasswordNeeded("This account has a 2FA password.")
    if name in DEATHS:
        return NotAuthorized(DEATHS[name])
    if abs(int(error.code or 0)) >= 500 or name in _PASSING:
        return Transient(f"Telegram has internal trouble with {method} ({name}).")
    return TelegramRefused(name, method=method)
