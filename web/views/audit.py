"""The access audit, as its tenant may see it."""

from __future__ import annotations

from apiflask import APIBlueprint
from pydantic import Field

from app.tenants.audit import AuditPage, list_audit_events
from web.auth import current_caller, needs
from web.parsing import Query
from web.parts import parts

audit = APIBlueprint("audit", __name__, url_prefix="/v1/audit", tag="Audit")


class AuditQuery(Query):
    """Which page of the audit."""

    cursor: int | None = Field(default=None, ge=1, lt=2**63, description="next_cursor of the page before.")
    limit: int = Field(default=50, ge=1, le=200, description="How many at most.")


@audit.get("")
@needs("audit")
@audit.input(AuditQuery, location="query", arg_name="query")
@audit.output(AuditPage)
def list_audit(query: AuditQuery) -> AuditPage:
    """List what was opened, revoked or refused, by whom; newest first"""
    return list_audit_events(
        parts().core.transaction, tenant_id=current_caller().tenant_id, before_id=query.cursor, limit=query.limit
    )
