"""RPC errors: their names, and the numbers that Telegram puts beside them."""

import re
from typing import Final

# Source: https://core.telegram.org/api/errors
_UNAUTHORIZED: Final = frozenset(
    {
        "AUTH_KEY_UNREGISTERED", "AUTH_KEY_INVALID", "AUTH_KEY_PERM_EMPTY", "SESSION_EXPIRED",
        "SESSION_PASSWORD_NEEDED", "SESSION_REVOKED", "USER_DEACTIVATED", "USER_DEACTIVATED_BAN",
    }
)  # fmt: skip
_NOT_ACCEPTABLE: Final = frozenset(
    {
        "AUTH_KEY_DUPLICATED", "FRESH_RESET_AUTHORISATION_FORBIDDEN", "PHONE_PASSWORD_FLOOD", "SEND_CODE_UNAVAILABLE",
        "UPDATE_APP_TO_LOGIN",
    }
)  # fmt: skip
_PATTERNS: Final = (
    (re.compile(r"\w+_MIGRATE_\d+"), 303),
    (re.compile(r"(FLOOD_WAIT|FLOOD_PREMIUM_WAIT|SLOWMODE_WAIT)_\d+"), 420),
    (re.compile(r"FROZEN_METHOD_INVALID"), 420),
    (re.compile(r"AUTH_RESTART|INTERNAL\w*|RPC_CALL_FAIL|RPC_MCGET_FAIL|MSG_WAIT_FAILED\w*|\w*_FAILED"), 500),
    (re.compile(r"Timeout|TIMEOUT"), 503),
)
_FLOOD_WAIT: Final = re.compile(r"FLOOD_WAIT_(\d+)")


class RpcError(Exception):
    """Raised when a call is answered with an error; `message` is Telegram's name for it."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code_of(message) if code is None else code

    @property
    def flood_wait_seconds(self) -> int | None:
        """How long the caller was told to wait; None when it was not."""
        match = _FLOOD_WAIT.fullmatch(self.message)
        return int(match[1]) if match else None


def code_of(message: str) -> int:
    """Return the number that goes with an error's name."""
    if message in _UNAUTHORIZED:
        return 401
    if message in _NOT_ACCEPTABLE:
        return 406
    return next((code for pattern, code in _PATTERNS if pattern.fullmatch(message)), 400)
