"""Sessions: read, import, validate, revoke."""

from __future__ import annotations

from apiflask import APIBlueprint

from app.sessions.importing import import_session
from app.sessions.planning import validate_soon
from app.sessions.read import SessionPage, SessionView, list_sessions, read_session, view_session
from app.sessions.revocation import revoke_opened, revoke_session
from app.tenants.limits import Quota
from web.auth import current_caller, needs
from web.openapi import answers_problems
from web.parts import parts
from web.rate_headers import remember_quota
from web.views.session_bodies import NewSessionBody, RevokeBody, RevokedSessions, SessionsQuery

_VALIDATIONS_PER_MINUTE = 6  # each asks Telegram, on behalf of an account that has other use for its calls

sessions = APIBlueprint("sessions", __name__, url_prefix="/v1/sessions", tag="Sessions")


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
        end_user_id=query.end_user_id,
        after_id=query.cursor,
        limit=query.limit,
    )


@sessions.post("")
@answers_problems("session_exists", "rate_limited")
@needs("sessions:write", limit="own")
@sessions.input(NewSessionBody, arg_name="body")
@sessions.output(SessionView, status_code=202, description="Sealed and quarantined; active once Telegram has answered.")
def post_session(body: NewSessionBody) -> SessionView:
    """Import a session

    Stop using the string session yourself before: two users of one session are its end.
    """
    caller, per_minute = current_caller(), parts().core.settings.login_rate_per_minute
    remember_quota(parts().limits.hit(Quota("imports", caller.tenant_id, per_minute)))
    row = import_session(
        parts().core,
        tenant_id=caller.tenant_id,
        session_string=body.session_string.get_secret_value(),
        session_format=body.format,
        telegram_user_id=body.telegram_user_id,
        actor=caller.actor,
    )
    return view_session(row)


@sessions.post("/revoke")
@needs("sessions:write")
@sessions.input(RevokeBody, arg_name="body")
@sessions.output(RevokedSessions, status_code=202, description="On their way; see each one's status.")
def revoke_many(body: RevokeBody) -> RevokedSessions:
    """Revoke every session that somebody has opened

    After a leak: those that a holder, or an API key, has leased, as the audit says; since a time; or all of them.
    """
    caller = current_caller()
    count = revoke_opened(
        parts().core,
        tenant_id=caller.tenant_id,
        actor=caller.actor,
        holder=body.holder,
        api_key_id=body.api_key_id,
        opened_since=body.opened_since,
    )
    return RevokedSessions(sessions=count)


@sessions.get("/<session:session_id>")
@needs("sessions:read")
@sessions.output(SessionView)
def get_session(session_id: str) -> SessionView:
    """Read a session"""
    return read_session(parts().core.transaction, tenant_id=current_caller().tenant_id, session_id=session_id)


@sessions.post("/<id:session_id>/validate")
@answers_problems("session_leased", "session_not_active")
@needs("sessions:write")
@sessions.output(SessionView, status_code=202, description="Validated within seconds; see `last_validated_at`.")
def validate(session_id: str) -> SessionView:
    """Validate a session now

    Six times a minute at most.
    """
    remember_quota(parts().limits.hit(Quota("validations-per-session", session_id, _VALIDATIONS_PER_MINUTE)))
    return view_session(validate_soon(parts().core, tenant_id=current_caller().tenant_id, session_id=session_id))


@sessions.delete("/<session:session_id>")
@needs("sessions:write")
@sessions.output(SessionView, status_code=202, description="`revoking`; `revoked` once Telegram has confirmed it.")
def delete_session(session_id: str) -> SessionView:
    """Revoke a session

    It is logged out at Telegram and erased. A lease on it is renewed no more and ends within 60 s.
    """
    caller = current_caller()
    row = revoke_session(
        parts().core, tenant_id=caller.tenant_id, session_id=session_id, actor=caller.actor, reason="requested"
    )
    return view_session(row)
