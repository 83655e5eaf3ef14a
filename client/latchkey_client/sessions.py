"""Sessions: list, read, import, validate, revoke."""

from __future__ import annotations

from datetime import datetime

from .exchange import exchange, place, post, reads, said
from .models import RevokedSessions, Session, SessionPage, SessionStatus
from .steps import Flow, Item, ManyFlow, Request


def list_page(
    *,
    status: SessionStatus | None = None,
    telegram_user_id: int | None = None,
    end_user_id: str | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Flow[SessionPage]:
    """List some sessions.

    Args:
        cursor: ``next_cursor`` of the page before.
        limit: 1 to 200; None: 50.

    Raises:
        AccessDenied, InvalidRequest, LatchkeyUnavailable.
    """
    request = Request(
        method="GET",
        path=place("sessions"),
        query={
            "status": status,
            "telegram_user_id": telegram_user_id,
            "end_user_id": end_user_id,
            "cursor": cursor,
            "limit": limit,
        },
        repeatable=True,
    )
    return (yield from exchange(request, reads(SessionPage)))


def list_all(
    *, status: SessionStatus | None = None, telegram_user_id: int | None = None, end_user_id: str | None = None
) -> ManyFlow[Session]:
    """Hand out every session, page by page. Raises as ``list_page`` does."""
    cursor = None
    while True:
        page = yield from list_page(
            status=status, telegram_user_id=telegram_user_id, end_user_id=end_user_id, cursor=cursor, limit=200
        )
        for session in page.data:
            yield Item(session)
        cursor = page.next_cursor
        if cursor is None:
            return


def read(session_id: str) -> Flow[Session]:
    """Read a session.

    Raises:
        NotFound, AccessDenied, LatchkeyUnavailable.
    """
    request = Request(method="GET", path=place("sessions", session_id), repeatable=True)
    return (yield from exchange(request, reads(Session)))


def import_session(
    session_string: str, *, session_format: str | None = None, telegram_user_id: int | None = None
) -> Flow[Session]:
    """Import a session. Stop using the string session yourself before: two users of one session are its end.

    Args:
        session_format: ``telethon``, ``pyrogram``, ``gramjs`` or ``mtcute``; None: Latchkey recognises it.
        telegram_user_id: whose it must be.

    Returns:
        The session: ``quarantined``, and ``active`` once Telegram has answered.

    Raises:
        Conflict: ``session_exists``.
        RateLimited, InvalidRequest, AccessDenied, LatchkeyUnavailable.
    """
    body = said(session_string=session_string, format=session_format, telegram_user_id=telegram_user_id)
    return (yield from exchange(post("sessions", body=body), reads(Session)))


def validate(session_id: str) -> Flow[Session]:
    """Let Latchkey ask Telegram now whether a session lives; see ``last_validated_at`` a few seconds later.

    Raises:
        SessionLeased, SessionNotActive, RateLimited, NotFound, AccessDenied, LatchkeyUnavailable.
    """
    return (yield from exchange(post("sessions", session_id, "validate"), reads(Session)))


def revoke(session_id: str) -> Flow[Session]:
    """Log a session out at Telegram and erase it. May be repeated.

    Returns:
        The session: ``revoking``, and ``revoked`` once Telegram has confirmed it.

    Raises:
        NotFound, AccessDenied, LatchkeyUnavailable.
    """
    request = Request(method="DELETE", path=place("sessions", session_id), repeatable=True)
    return (yield from exchange(request, reads(Session)))


def revoke_opened(
    *,
    holder: str | None = None,
    api_key_id: str | None = None,
    opened_since: datetime | None = None,
    every_session: bool = False,
) -> Flow[RevokedSessions]:
    """After a leak: revoke what a holder or an API key has opened, since a time, or everything. May be repeated.

    Args:
        opened_since: an aware datetime.
        every_session: goes alone.

    Raises:
        InvalidRequest, AccessDenied, LatchkeyUnavailable.
    """
    body = said(
        holder=holder,
        api_key_id=api_key_id,
        opened_since=None if opened_since is None else opened_since.isoformat(),
        all=True if every_session else None,
    )
    return (yield from exchange(post("sessions", "revoke", body=body), reads(RevokedSessions)))
