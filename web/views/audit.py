"""The audit, as its tenant may see it: in pages, or as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import Field

from app.storable import Storable
from app.tenants.audit import AuditFilter, AuditPage, export_audit_events, list_audit_events
from web.auth import current_caller, needs
from web.openapi import answers
from web.parsing import Moment, Query
from web.parts import parts

audit = APIBlueprint("audit", __name__, url_prefix="/v1/audit", tag="Audit")

_NDJSON = "application/x-ndjson"
_EXPORT = "With `Accept: application/x-ndjson`: every event that was asked for, one a line; `cursor` and `limit` do not count."


class AuditQuery(Query):
    """Which events, and which page of them."""

    cursor: int | None = Field(default=None, ge=1, lt=2**63, description="next_cursor of the page before.")
    limit: int = Field(default=50, ge=1, le=200, description="How many at most.")
    action: Annotated[Storable, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Only that: session.opened, lease.acquired, login.authorized."
    )
    subject: Annotated[Storable, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Only what was done to this id."
    )
    since: Moment | None = Field(default=None, description="Only from then on.")


@audit.get("")
@needs("audit")
@audit.input(AuditQuery, location="query", arg_name="query")
@audit.output(AuditPage)
@audit.doc(responses=answers(_EXPORT, media_type=_NDJSON))
def list_audit(query: AuditQuery) -> AuditPage | Response:
    """List what was started, opened, revoked or refused, by whom; newest first"""
    transaction, tenant_id = parts().core.transaction, current_caller().tenant_id
    only = AuditFilter(action=query.action, subject=query.subject, since=query.since)
    if request.accept_mimetypes.best_match(["application/json", _NDJSON]) == _NDJSON:
        events = export_audit_events(transaction, tenant_id=tenant_id, only=only)

        def lines() -> Iterator[str]:
            for event in events:
                yield event.model_dump_json() + "\n"

        return Response(lines(), mimetype=_NDJSON)
    return list_audit_events(transaction, tenant_id=tenant_id, before_id=query.cursor, limit=query.limit, only=only)
