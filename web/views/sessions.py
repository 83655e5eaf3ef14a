"""Sessions, read only."""

from __future__ import annotations

from apiflask import APIBlueprint
from pydantic import Field

from app.sessions.read import SessionPage, SessionStatus, SessionView, list_sessions, read_session
from web.auth import current_caller, needs
from web.parsing import Query
from web.parts import parts

sessions = APIBlueprint("sessions", __name__, url_prefix="/v1/sessions", tag="Sessions")


class SessionsQuery(Query):
    """Which sessions, and which page of them."""

    status: SessionStatus | None = None
    telegram_user_id: int | None = Field(default=None, gt=0, lt=2**63)
    cursor: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_-]{1,80}$", description="next_cursor of the page before."
    )
    limit: int = Field(default=50, ge=1, le=200, description="How many at most.")


@sessions.get("")
@needs("sessions:read")
@sessions.input(SessionsQuery, location="query", arg_name="query")
@sessions.output(SessionPage)
def list_all(query: SessionsQuery) -> SessionPage:
    """List sessions"""
    return list_sessions(
        parts().core.transaction,
        tenant_id=current_caller().tenant_id,
        status=query.status,
        telegram_user_id=query.telegram_user_id,
        after_id=query.cursor,
        limit=query.limit,
    )


@sessions.get("/<id:session_id>")
@needs("sessions:read")
@sessions.output(SessionView)
def get_session(session_id: str) -> SessionView:
    """Read a session"""
    return read_session(parts().core.transaction, tenant_id=current_caller().tenant_id, session_id=session_id)
