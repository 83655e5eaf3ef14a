"""All that happens to a tenant's logins and sessions, as one stream."""

from __future__ import annotations

from contextlib import ExitStack

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import Field

from app.errors import InvalidInput
from web.auth import current_caller, demand, needs_any_key
from web.openapi import answers
from web.parsing import Query
from web.parts import parts
from web.streams import stream_tenant_events
from web.watch import Who

events = APIBlueprint("events", __name__, url_prefix="/v1/events", tag="Events")

_EVENTS = "Events named as in webhooks; id is the cursor, data `{id, type, timestamp, data}`."
_LARGEST = 2**63


class EventsQuery(Query):
    """From where on."""

    cursor: int | None = Field(
        default=None,
        ge=0,
        lt=_LARGEST,
        description="The id of the last event that you have; left out, what happens from now on. Last-Event-ID comes first.",
    )


@events.get("")
@needs_any_key(says="Needs the scopes `logins` and `sessions:read`.")
@events.input(EventsQuery, location="query", arg_name="query")
@events.doc(responses=answers(_EVENTS, media_type="text/event-stream"))
def stream_events(query: EventsQuery) -> Response:
    """Stream what happens to logins and sessions

    Server-sent events, each with an id to go on from: send it as `Last-Event-ID` (browsers do) or as `cursor`, after whatever
    time, to whichever process. Events are kept for `WEBHOOK_RETENTION_DAYS`. An id comes at once and with every comment, so
    that you can go on also when nothing has happened. The stream ends when the key is revoked.
    """
    demand("logins")
    demand("sessions:read")
    caller, streams = current_caller(), parts().http_metrics.streams
    cursor = _last_event_id()
    with ExitStack() as opened:
        opened.enter_context(parts().stream_caps.open(login_id=None, tenant_id=caller.tenant_id, address=None))
        viewer = opened.enter_context(
            parts().event_watch.viewing(
                who=Who(caller.key_id, caller.tenant_id), cursor=query.cursor if cursor is None else cursor
            )
        )
        opened.enter_context(streams.track_inprogress())
        closing = opened.pop_all()
    response = Response(stream_tenant_events(viewer), mimetype="text/event-stream")
    response.call_on_close(closing.close)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response


def _last_event_id() -> int | None:
    text = request.headers.get("Last-Event-ID")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) < _LARGEST):
        raise InvalidInput("Check Last-Event-ID.", errors=(("Last-Event-ID", "must be the id of an event"),))
    return int(text)
