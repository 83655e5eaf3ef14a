"""How the driving of a login can end, as values and as the exceptions that carry them out of its depths."""

from __future__ import annotations

from dataclasses import dataclass

from app.logins.view import FailureReason


class LoginFailed(Exception):
    """Raised when the login cannot succeed any more.

    Args:
        reason: one of the contract's reasons.
        retry_after_seconds: when another login is worth a try, if Telegram said.
    """

    def __init__(self, reason: FailureReason, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason: FailureReason = reason
        self.retry_after_seconds = retry_after_seconds


class LoginWithdrawn(Exception):
    """Raised when what the login is for is gone: the session to log in again for was revoked."""


class LoginExpired(Exception):
    """Raised when the login's life is over."""


@dataclass(frozen=True)
class RunOutcome:
    """What a run of ``run_qr_login`` came to, for the task.

    Args:
        name: ``authorized``, ``expired``, ``failed``; ``over`` (somebody else ended it, and its key is seen to); ``not_mine``
            (another worker drives it, or it was over before); ``handed_over`` (send the task again now) or ``put_off`` (send
            it again after ``retry_seconds``).
    """

    name: str
    retry_seconds: float = 0.0


OVER = RunOutcome("over")
NOT_MINE = RunOutcome("not_mine")
HANDED_OVER = RunOutcome("handed_over")
