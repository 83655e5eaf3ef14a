"""A login as a stream of server-sent events, and as one long-polled answer.

Source of the format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from app.clock import rfc3339
from app.core import Core
from app.errors import NotFound, Unauthenticated, Unavailable
from app.logins.service import Reader, read_login
from app.logins.view import LoginView
from app.webhooks.event_log import LoggedEvent
from web.event_watch import EventViewer
from web.watch import Viewer

COMMENT_EVERY_SECONDS = 15.0
_RECONNECT_MILLISECONDS = 2000
_RETRY_SECONDS = 2.0
_GRACE_SECONDS = 60.0


def wait_for_change(
    core: Core,
    viewer: Viewer,
    *,
    login: LoginView,
    reader: Reader,
    version: int | None,
    wait_seconds: float,
) -> LoginView:
    """Read a login once its version exceeds ``version``, or as it is when the time is up.

    Args:
        viewer: has been viewing since before ``login`` was read.
        version: None means the version it has now. A final login is answered at once: nothing more will happen to it.

    Raises:
        NotFound, Unavailable: as in ``read_login``.
        Unauthenticated: the API key was revoked meanwhile.
    """
    deadline = time.monotonic() + wait_seconds
    login_id = login.id
    exceed = login.version if version is None else version
    while login.version <= exceed and not login.final:
        viewer.known_version = login.version
        if not viewer.wait(max(0.0, deadline - time.monotonic())):
            break
        if viewer.ended:
            raise Unauthenticated("This API key is not valid any more.")
        login = viewer.read(lambda: read_login(core, login_id=login_id, reader=reader))
    return login


def stream_tenant_events(viewer: EventViewer, *, comment_every_seconds: float = COMMENT_EVERY_SECONDS) -> Iterator[str]:
    """Yield a tenant's events after the viewer's position; comments in between, with the position that has been reached.

    Ends when whoever looks may not any more.
    """
    yield f"retry: {_RECONNECT_MILLISECONDS}\nid: {viewer.position}\n\n"
    while not viewer.ended:
        try:
            events = viewer.read()
        except Unavailable:
            yield ": the database is away\n\n"
            time.sleep(_RETRY_SECONDS)
            continue
        yield from map(_tenant_event, events)
        if not events and not viewer.wait(comment_every_seconds):
            yield f": still here\nid: {viewer.position}\n\n"


def _tenant_event(event: LoggedEvent) -> str:
    told = {"id": event.id, "type": event.type, "timestamp": rfc3339(event.timestamp), "data": event.payload}
    return f"event: {event.type}\nid: {event.position}\ndata: {json.dumps(told, ensure_ascii=False)}\n\n"


def stream_events(
    core: Core,
    viewer: Viewer,
    *,
    login: LoginView,
    reader: Reader,
    draw: Callable[[str], str] | None = None,
    comment_every_seconds: float = COMMENT_EVERY_SECONDS,
) -> Iterator[str]:
    """Yield a login as it is and after every change, until it is final; comments in between keep proxies awake.

    Ends as well when whoever looks may not any more.

    Args:
        viewer: has been viewing since before ``login`` was read.
        draw: draws what a QR code says: each new code comes as an event of its own, before the login that shows it.
    """
    # A login ends by itself at expires_at; its stream ends a little later whatever happened.
    end = time.monotonic() + (login.expires_at - login.updated_at).total_seconds() + _GRACE_SECONDS
    login_id, sent_version, drawn = login.id, -1, None
    yield f"retry: {_RECONNECT_MILLISECONDS}\n\n"
    while True:
        if login.version > sent_version:
            if draw is not None and login.qr is not None and login.qr.url != drawn:
                drawn = login.qr.url
                yield f"event: qr\ndata: {json.dumps({'url': drawn, 'svg': draw(drawn)})}\n\n"
            yield f"event: login\nid: {login.version}\ndata: {login.model_dump_json()}\n\n"
            viewer.known_version = sent_version = login.version
        if login.final or time.monotonic() > end:
            return
        if not viewer.wait(comment_every_seconds):
            yield ": still here\n\n"
            continue
        if viewer.ended:
            return
        try:
            login = viewer.read(lambda: read_login(core, login_id=login_id, reader=reader))
        except Unavailable:
            yield ": the database is away\n\n"
            time.sleep(_RETRY_SECONDS)
            viewer.tell(sent_version + 1)
        except NotFound:
            return
