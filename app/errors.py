"""The error tree: one class for each thing a caller can do about it.

``web`` turns these into problems, ``tasks`` into retries, each with one table. A ``code`` is stable and
public; a message is a sentence for people and never carries a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class AppError(Exception):
    """Anything Latchkey itself says no with.

    Args:
        detail: a sentence that says what to do.
        code: overrides the class's stable code.
    """

    code = "internal_error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code

    def extras(self) -> Mapping[str, object]:
        """Members that go into the problem beside the standard ones. Datetimes are aware."""
        return {}


class SettingsError(AppError):
    """Raised at start: a setting is missing or senseless. The operator mends the environment."""

    code = "settings_invalid"


class InvalidInput(AppError):
    """Raised when a request makes no sense as it stands. The caller mends it.

    Args:
        errors: pairs of field and message, in the order found.
    """

    code = "invalid_request"

    def __init__(self, detail: str, *, errors: tuple[tuple[str, str], ...] = (), code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.errors = errors


class Unauthenticated(AppError):
    """Raised when no valid credential came along."""

    code = "unauthenticated"


class Forbidden(AppError):
    """Raised when the credential is valid but lacks the scope."""

    code = "forbidden"


class NotFound(AppError):
    """Raised when there is no such thing, or it is another tenant's."""

    code = "not_found"


class Conflict(AppError):
    """Raised when the thing is not in a state that allows the call; look at it again before trying again."""

    code = "conflict"


class SessionLeased(Conflict):
    """Raised when somebody else holds the session; try again after ``expires_at``."""

    code = "session_leased"

    def __init__(self, detail: str, *, holder: str, expires_at: datetime) -> None:
        super().__init__(detail)
        self.holder = holder
        self.expires_at = expires_at

    def extras(self) -> Mapping[str, object]:
        return {"holder": self.holder, "expires_at": self.expires_at}


class StillWorkedOn(Conflict):
    """Raised when the first request of an idempotency key is not over yet; repeat it after ``retry_after_seconds``."""

    code = "idempotency_key_in_use"
    retry_after_seconds = 2


class RateLimited(AppError):
    """Raised when the caller has used up its window; try again after ``retry_after_seconds``."""

    code = "rate_limited"

    def __init__(self, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(AppError):
    """Raised when something that Latchkey needs is away, so that nothing could be stored; try again."""

    code = "unavailable"
    retry_after_seconds = 5


class Transient(AppError):
    """Raised by work that failed for a passing reason (network, timeout, 5xx). Repeat it later."""

    code = "transient"


class FloodWait(Transient):
    """Raised when Telegram, or a gate that Telegram's answer closed, says to wait.

    Args:
        method: the TL method the wait is for.
        wait_seconds: how long from now; jitter not included.
    """

    code = "flood_wait"

    def __init__(self, *, method: str, wait_seconds: float) -> None:
        super().__init__(f"Telegram asks to wait {wait_seconds:.0f} s before {method}")
        self.method = method
        self.wait_seconds = wait_seconds


class Permanent(AppError):
    """Raised by work that will fail the same way however often it is repeated."""

    code = "permanent"


class SealBroken(Permanent):
    """Raised when a sealed value does not open: wrong key, wrong place, or changed bytes."""

    code = "seal_broken"


class OwnershipLost(AppError):
    """Raised when another worker drives the login now: stop, send nothing, write nothing, log nothing out."""

    code = "ownership_lost"


class LoginOver(AppError):
    """Raised when the login ended while this worker still drove it: log out the auth key that leaves, and leave."""

    code = "login_over"
