"""What can go wrong, one class for each thing that a caller can do about it."""

from __future__ import annotations

from datetime import datetime


class LatchkeyError(Exception):
    """Anything that Latchkey, or the lease of it, says no with.

    Args:
        detail: a sentence for people.
        code: Latchkey's stable code, such as ``session_leased``.
    """

    def __init__(self, detail: str, *, code: str = "error") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


class LatchkeyUnavailable(LatchkeyError):
    """Raised when Latchkey cannot be reached, is overloaded, or answers nonsense. Try again later."""


class AccessDenied(LatchkeyError):
    """Raised when the API key is unknown or lacks the scope ``sessions:open``."""


class SessionNotFound(LatchkeyError):
    """Raised when there is no such session, or it is another tenant's."""


class SessionNotActive(LatchkeyError):
    """Raised when the session cannot be used in its status: look at it, its user may have to log in anew."""


class SessionLeased(LatchkeyError):
    """Raised when somebody else holds the session. Try again after ``expires_at``."""

    def __init__(self, detail: str, *, holder: str, expires_at: datetime) -> None:
        super().__init__(detail, code="session_leased")
        self.holder = holder
        self.expires_at = expires_at


class LeaseLost(LatchkeyError):
    """Raised when the session may not be used any more, and has been disconnected: somebody took it over, it is being revoked,
    or Latchkey could not be reached to renew the lease in time."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="lease_lost")


class SessionDead(LatchkeyError):
    """Raised when Telegram says that the session is over. Latchkey has been told and looks into it: Telegram is wrong at times.

    When it is true, the session becomes ``invalid``, and its user has to log in anew.
    """
