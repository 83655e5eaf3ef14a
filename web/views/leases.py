"""Leases: whoever uses a session holds one."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from app.sessions.leases import acquire_lease, check_lease_again, release_lease, renew_lease
from web.auth import current_caller, needs
from web.idempotency import replays_if
from web.openapi import answers_problems
from web.parts import parts
from web.views.session_bodies import LeaseView, NewLeaseBody, ReleaseLeaseQuery, RenewedLeaseView, RenewLeaseBody

leases = APIBlueprint("leases", __name__, url_prefix="/v1/sessions/<id:session_id>/lease", tag="Leases")


def _still_held(arguments: dict[str, Any], answer: dict[str, Any]) -> None:
    caller = current_caller()
    check_lease_again(
        parts().core,
        tenant_id=caller.tenant_id,
        session_id=arguments["session_id"],
        lease_id=answer["lease_id"],
        actor=caller.actor,
    )


@leases.post("")
@answers_problems("session_leased", "session_not_active", "lease_lost")
@needs("sessions:open", limit="opens")
@replays_if(_still_held)
@leases.input(NewLeaseBody, arg_name="body")
@leases.output(LeaseView, status_code=201)
def acquire(session_id: str, body: NewLeaseBody) -> LeaseView:
    """Acquire a lease

    Opens the session, which the audit keeps. Renew in time, and disconnect before it ends: Telegram ends a session that
    two connections use. While somebody else holds it, the problem has their `holder` and `expires_at`.
    """
    caller = current_caller()
    lease = acquire_lease(
        parts().core,
        tenant_id=caller.tenant_id,
        session_id=session_id,
        holder=body.holder,
        ttl_seconds=body.ttl_seconds,
        purpose=body.purpose,
        session_format=body.format,
        actor=caller.actor,
        api_key_id=caller.key_id,
    )
    return LeaseView.model_validate(lease, from_attributes=True)


@leases.put("/<id:lease_id>")
@answers_problems("lease_lost")
@needs("sessions:open", limit="lease")
@leases.input(RenewLeaseBody, arg_name="body")
@leases.output(RenewedLeaseView)
def renew(session_id: str, lease_id: str, body: RenewLeaseBody) -> RenewedLeaseView:
    """Renew a lease"""
    lease = renew_lease(
        parts().core,
        tenant_id=current_caller().tenant_id,
        session_id=session_id,
        lease_id=lease_id,
        ttl_seconds=body.ttl_seconds,
        healthy=body.healthy,
        actor=current_caller().actor,
    )
    return RenewedLeaseView.model_validate(lease, from_attributes=True)


@leases.delete("/<id:lease_id>")
@answers_problems("lease_lost")
@needs("sessions:open", limit="lease")
@leases.input(ReleaseLeaseQuery, location="query", arg_name="query")
@leases.output({}, status_code=204)
def release(session_id: str, lease_id: str, query: ReleaseLeaseQuery) -> str:
    """Release a lease

    Disconnect before.
    """
    release_lease(
        parts().core,
        tenant_id=current_caller().tenant_id,
        session_id=session_id,
        lease_id=lease_id,
        healthy=query.healthy,
        actor=current_caller().actor,
    )
    return ""
