"""Reading again: ETag and If-None-Match on every read, and pages that stay whole while others write."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete

from app.core import Core
from app.ids import new_id
from app.models import TelegramSession
from app.vault.audit import record_event
from app.webhooks.replays import send_test
from tests.sessions.rows import give_session
from tests.web.callers import Caller, members
from tests.web.playing_worker import PlayingWorker

_WRITES = 60


def reads(alice: Caller, core: Core) -> dict[str, str]:
    """An address of everything that can be read with an API key, by its rule."""
    session_id, login = give_session(core)[0], alice.start_login()
    PlayingWorker(core, login["id"]).publish_qr()
    webhook = members(alice.post("/v1/webhooks", {"url": "https://alice.example/hook"}))["id"]
    alice.post("/v1/tenants", {"id": "carol", "name": "Carol"})
    alice.delete("/v1/tenants/carol?purge=true")
    return {
        "/v1/logins/{login_id}": f"/v1/logins/{login['id']}",
        "/v1/logins/{login_id}/qr.svg": f"/v1/logins/{login['id']}/qr.svg",
        "/v1/logins/{login_id}/qr.png": f"/v1/logins/{login['id']}/qr.png",
        "/v1/sessions": "/v1/sessions?limit=10",
        "/v1/sessions/{session_id}": f"/v1/sessions/{session_id}",
        "/v1/audit": "/v1/audit",
        "/v1/webhooks": "/v1/webhooks",
        "/v1/webhooks/{webhook_id}": f"/v1/webhooks/{webhook}",
        "/v1/webhooks/{webhook_id}/deliveries": f"/v1/webhooks/{webhook}/deliveries",
        "/v1/tenant": "/v1/tenant",
        "/v1/tenants": "/v1/tenants",
        "/v1/tenants/{tenant_id}": "/v1/tenants/alice",
        "/v1/tenants/{tenant_id}/purge": "/v1/tenants/carol/purge",
        "/v1/tenants/{tenant_id}/api-keys": "/v1/tenants/bob/api-keys",
    }


def test_what_has_not_changed_is_304(alice: Caller, core: Core) -> None:
    """No body, the tag again; and the document says so of each."""
    paths = members(alice.get("/openapi.json"))["paths"]
    for rule, path in reads(alice, core).items():
        first = alice.get(path)
        assert first.status_code == 200, (rule, first.text)
        tag = first.headers["ETag"]
        again = alice.get(path, If_None_Match=f'"other", {tag}')
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag), rule
        assert alice.get(path, If_None_Match='"other"').data == first.data
        assert {"200", "304"} <= paths[rule]["get"]["responses"].keys(), rule


def test_what_has_changed_is_told(alice: Caller, core: Core) -> None:
    """Another body has another tag; errors have none."""
    login = alice.start_login()
    path = f"/v1/logins/{login['id']}"
    tag = alice.get(path).headers["ETag"]
    PlayingWorker(core, login["id"]).publish_qr()
    changed = alice.get(path, If_None_Match=tag)
    assert (changed.status_code, members(changed)["status"]) == (200, "waiting_for_scan")
    assert changed.headers["Cache-Control"] == "no-store"
    assert alice.get("/v1/tenant").headers["Cache-Control"] == "private, no-cache"
    assert "ETag" not in alice.get("/v1/logins/lgn_none").headers


def test_another_key_with_the_same_tag_is_refused_all_the_same(alice: Caller, bob: Caller, core: Core) -> None:
    """A tag opens nothing."""
    path = f"/v1/sessions/{give_session(core)[0]}"
    tag = alice.get(path).headers["ETag"]
    assert bob.get(path, If_None_Match=tag).status_code == 404
    assert bob.get(path, If_None_Match="*").status_code == 404


def add_session(core: Core, tenant_id: str = "alice") -> str:
    """Add a session; its id falls anywhere among the others."""
    session_id = new_id("ses")
    with core.transaction() as db:
        db.add(TelegramSession(id=session_id, tenant_id=tenant_id, dc_id=2, status="revoked"))
    return session_id


def walk(alice: Caller, path: str, name: str, between: Callable[[], Any]) -> list[str]:
    """Read all pages of two, with something going on between them."""
    seen: list[str] = []
    cursor = ""
    while True:
        page = members(alice.get(f"{path}?limit=2{cursor}"))
        seen += [row[name] for row in page["data"]]
        if page["next_cursor"] is None:
            return seen
        cursor = f"&cursor={page['next_cursor']}"
        between()


@pytest.mark.parametrize("what", ["sessions", "audit", "deliveries"])
def test_pages_lose_and_repeat_nothing_that_was_there_all_along(alice: Caller, core: Core, what: str) -> None:
    """While others are added and deleted, the one that a page ended with as well."""
    webhook = members(alice.post("/v1/webhooks", {"url": "https://alice.example/hook"}))["id"]
    path = {"deliveries": f"/v1/webhooks/{webhook}/deliveries"}.get(what, f"/v1/{what}")
    name = {"sessions": "id", "audit": "id", "deliveries": "event_id"}[what]

    def add() -> str:
        if what == "sessions":
            return add_session(core)
        if what == "deliveries":
            return send_test(core, tenant_id="alice", endpoint_id=webhook).event_id
        with core.transaction() as db:
            record_event(db, tenant_id="alice", actor="test", action="tested", subject="x")
        return ""

    for _ in range(9):
        add()
    stays = {row[name] for row in members(alice.get(f"{path}?limit=200"))["data"]}
    doomed: list[str] = []
    ending = threading.Event()

    def write() -> None:
        for _ in range(_WRITES):
            if ending.wait(0.005):
                return
            doomed.append(add())
            if what == "sessions" and len(doomed) > 3:
                with core.transaction() as db:
                    db.execute(delete(TelegramSession).where(TelegramSession.id == doomed.pop(0)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2):
            seen = walk(alice, path, name, between=lambda: doomed.append(add()))
            assert stays <= set(seen)
            assert len(seen) == len(set(seen))
    finally:
        ending.set()
        writer.join()


def test_a_page_goes_on_where_its_last_row_was(alice: Caller, core: Core) -> None:
    """Also when that very row is deleted in between."""
    ids = sorted(add_session(core) for _ in range(4))
    page = members(alice.get("/v1/sessions?limit=2"))
    with core.transaction() as db:
        db.execute(delete(TelegramSession).where(TelegramSession.id == ids[1]))
    rest = members(alice.get(f"/v1/sessions?limit=2&cursor={page['next_cursor']}"))
    assert [row["id"] for row in page["data"] + rest["data"]] == ids
