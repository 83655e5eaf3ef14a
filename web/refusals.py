"""Refused calls (401, 403) in the audit: a sample, so that a flood of them does not fill it."""

from __future__ import annotations

from flask import g, request

from app.errors import AppError, Forbidden, RateLimited, Unauthenticated, Unavailable
from app.tenants.keys import Caller
from app.tenants.limits import Quota
from app.vault.audit import record_event
from web.parts import parts

_PER_ADDRESS, _IN_ALL = 5, 60  # a minute


def sample_refusal(error: AppError) -> None:
    """Keep a refusal in the audit, unless there were many of late. Never raises."""
    if not isinstance(error, Unauthenticated | Forbidden):
        return
    address, core = request.remote_addr or "unknown", parts().core
    try:
        quotas = (Quota("refusals-per-address", address, _PER_ADDRESS), Quota("refusals", "all", _IN_ALL))
        if parts().limits.hit_if_known(*quotas) is None:
            return
        caller = g.get("caller")
        known = isinstance(caller, Caller)
        with core.transaction() as db:
            record_event(
                db,
                tenant_id=caller.tenant_id if known else None,
                actor=caller.actor if known else "nobody",
                action="request.refused",
                subject=f"{request.method} {request.url_rule.rule if request.url_rule else 'unknown'}",
                reason=error.code,
                details={"address": address},
            )
    except (RateLimited, Unavailable):
        return
