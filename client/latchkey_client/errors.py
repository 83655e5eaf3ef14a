"""What can go wrong, one class for each thing that a caller can do about it."""

from __future__ import annotations

from datetime import datetime


class LatchkeyError(Exception):
    """Anything that Latchkey, or the lease of it, says no with.

    Args:
        detail: a sentence for people.
        code: Latchkey's stable code, such as ``session_leased``.
        status: of the HTTP answer; None: there was none.
        request_id: what to tell Latchkey's operators.
    """

    def __init__(
        self, detail: str, *, code: str = "error", status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.request_id = request_id


class LatchkeyUnavailable(LatchkeyError):
    """Raised when Latchkey cannot be reached, is overloaded, or answers nonsense. Try again later.

    ``retry_after_seconds``: when, if Latchkey said so.
    """

    retry_after_seconds: float | None = None


class RateLimited(LatchkeyUnavailable):
    """Raised when there were too many calls. Try again after ``retry_after_seconds``."""


class AccessDenied(LatchkeyError):
    """Raised when the API key or login secret is unknown, lacks the scope, or may not be used from here."""


class InvalidRequest(LatchkeyError):
    """Raised when the call makes no sense as it stands. ``errors`` holds pairs of field and message."""

    errors: tuple[tuple[str, str], ...] = ()


class NotFound(LatchkeyError):
    """Raised when there is no such login, session or lease, or it is another tenant's."""


class Conflict(LatchkeyError):
    """Raised when the thing is not in a state that allows the call: look at it again; ``code`` says which state."""


class SessionNotActive(Conflict):
    """Raised when the session cannot be used in its status: look at it, its user may have to log in anew."""


class SessionLeased(Conflict):
    """Raised when somebody else holds the session. Try again after ``expires_at``."""

    def __init__(self, detail: str, *, holder: str, expires_at: datetime) -> None:
        super().__init__(detail, code="session_leased", status=409)
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


class WebhookRefused(LatchkeyError):
    """Raised when a webhook was not signed with the secret, or not within the last five minutes. Answer 400, do nothing."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="webhook_refused")
