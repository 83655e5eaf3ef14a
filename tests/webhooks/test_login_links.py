"""The ``login_url`` of ``session.invalid``: complete, and working when it is opened."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import update

from app.clock import utc_now
from app.core import Core
from app.errors import NotFound
from app.logins.again import log_in_again
from app.logins.service import Reader, read_login
from app.models import Login, TelegramSession, WebhookDelivery
from app.webhooks.delivery import deliver_due
from app.webhooks.endpoints import create_endpoint
from app.webhooks.outbox import queue_event
from tests.webhooks.receiver import Receiver


def test_a_delivered_link_begins_its_login_when_it_is_opened(open_core: Core, receiver: Receiver) -> None:
    """The link has the secret in each try, before and after it was opened; a wrong secret opens nothing."""
    made = create_endpoint(open_core, tenant_id="alice", actor="test", url=receiver.url, events=None)
    session = TelegramSession(
        id="ses_1",
        tenant_id="alice",
        telegram_user_id=7,
        end_user_id="u-1",
        dc_id=2,
        status="invalid",
        client_metadata={"order": "17"},
    )
    with open_core.transaction() as db:
        db.add(session)
    link = log_in_again(open_core, session)
    payload = {"login_id": link.login_id, "login_url": link.url}
    with open_core.transaction() as db:
        queue_event(db, tenant_id="alice", event="session.invalid", subject="ses_1", payload=payload)
    deliver_due(open_core, made.id)
    told = json.loads(receiver.got[0][1])["data"]["login_url"]
    address, _, secret = told.partition("#")
    assert address == link.url
    with pytest.raises(NotFound):
        read_login(open_core, login_id=link.login_id, reader=Reader(client_secret="ls_wrong"))
    for _ in range(2):
        login = read_login(open_core, login_id=link.login_id, reader=Reader(client_secret=secret))
        assert (login.id, login.status, login.telegram_user_id) == (link.login_id, "queued", 7)
    with open_core.transaction() as db:
        row = db.get_one(Login, link.login_id)
    assert (row.relogin_session_id, row.end_user_id) == ("ses_1", "u-1")
    with open_core.transaction() as db:
        db.execute(update(WebhookDelivery).values(state="pending", next_try_at=utc_now()))
    deliver_due(open_core, made.id)
    assert json.loads(receiver.got[1][1])["data"]["login_url"] == told
