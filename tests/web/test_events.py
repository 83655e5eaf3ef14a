"""GET /v1/events: a tenant's stream, from any cursor, for any number of viewers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest
import requests
from flask.testing import FlaskClient
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import func, select

from app.core import Core
from app.ids import new_id
from app.models import TelegramSession, WebhookMessage
from app.sessions.events import queue_session_event
from app.tenants.keys import create_api_key
from app.webhooks.event_log import give_out_all_positions, read_head, read_page
from app.webhooks.outbox import queue_event
from tests.waiting import wait_until
from tests.web.callers import Caller, problem, with_key
from tests.web.live import Live
from tests.web.playing_worker import PlayingWorker
from web.event_watch import EventWatch
from web.parts import Parts
from web.streams import stream_tenant_events
from web.watch import Who

ALICE = Who("key_alice", "alice")


class Told(NamedTuple):
    """An event off the stream."""

    id: int
    kind: str
    members: dict[str, Any]


def queue(core: Core, subject: str, *, tenant_id: str = "alice") -> str:
    """Have something happen."""
    with core.transaction() as db:
        queue_event(db, tenant_id=tenant_id, event="login.expired", subject=subject, payload={"login_id": subject})
    return subject


def parse(lines: Iterator[str]) -> Iterator[Told | int]:
    """Events, and the ids that come between them."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield Told(int(fields["id"]), fields["event"], json.loads(fields["data"]))
        elif "id" in fields:
            yield int(fields["id"])
        fields = {}


@contextmanager
def streaming(live: Live, key: str | None = None, **options: Any) -> Iterator[Iterator[Told | int]]:
    """Open the stream; its first item is the id that it begins at."""
    headers = ({"Authorization": f"Bearer {key}"} if key else dict(live.headers)) | options.pop("headers", {})
    with requests.get(f"{live.url}/v1/events", headers=headers, stream=True, timeout=20, **options) as answer:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield parse(answer.iter_lines(chunk_size=1, decode_unicode=True))


def take(stream: Iterator[Told | int], count: int) -> list[Told]:
    """The next events."""
    told: list[Told] = []
    while len(told) < count:
        each = next(stream)
        if isinstance(each, Told):
            told.append(each)
    return told


def test_a_tenant_hears_of_its_logins_and_sessions_and_of_nobody_elses(live: Live) -> None:
    """Named as in webhooks, without an endpoint; a secret link is not among them."""
    with streaming(live) as stream:
        begins_at = next(stream)
        login = live.start_login()
        PlayingWorker(live.core, login["id"]).finish("expired")
        queue(live.core, "lgn_bobs", tenant_id="bob")
        with live.core.transaction() as db:
            row = TelegramSession(id=new_id("ses"), tenant_id="alice", dc_id=2, status="revoked", client_metadata={})
            db.add(row)
            db.flush()
            queue_session_event(db, "session.revoked", row, login_url="https://latchkey.example/login/lgn_1")
        first, second = take(stream, 2)
    assert isinstance(begins_at, int)
    assert begins_at < first.id < second.id
    assert (first.kind, first.members["type"]) == ("login.expired", "login.expired")
    assert (first.members["data"]["login_id"], first.members["data"]["status"]) == (login["id"], "expired")
    assert first.members["id"].startswith("msg_")
    assert first.members["timestamp"].endswith("Z")
    assert (second.kind, second.members["data"]["session_id"]) == ("session.revoked", row.id)
    assert "login_url" not in second.members["data"]


def test_a_stream_goes_on_where_it_was_cut_off(live: Live) -> None:
    """By ``Last-Event-ID`` or ``cursor``, whatever happened meanwhile, page after page, each event once."""
    with streaming(live) as stream:
        begins_at = next(stream)
        queue(live.core, "lgn_first")
        (first,) = take(stream, 1)
    subjects = [queue(live.core, f"lgn_{number}") for number in range(450)]
    resumptions: list[dict[str, Any]] = [
        {"headers": {"Last-Event-ID": str(first.id)}},
        {"params": {"cursor": str(first.id)}},
    ]
    for options in resumptions:
        with streaming(live, **options) as stream:
            told = take(stream, 450)
            queue(live.core, "lgn_last")
            told += take(stream, 1)
        assert [each.members["data"]["login_id"] for each in told[:450]] == subjects
        assert [each.id for each in told] == sorted({each.id for each in told})
        subjects = [*subjects, "lgn_last"][:450]
    with streaming(live, params={"cursor": str(begins_at)}) as stream:
        assert take(stream, 1)[0].members["data"]["login_id"] == "lgn_first"


def test_a_login_that_is_committed_late_is_not_passed_over(core: Core) -> None:
    """A transaction that began first and ended last: its event comes after those that were read before."""
    watch = EventWatch(transaction=core.transaction, find_barred=lambda *_: (set(), set()), poll_seconds=0.05)
    with watch.viewing(who=ALICE, cursor=None) as viewer:
        with core.transaction() as slow:
            queue_event(slow, tenant_id="alice", event="login.expired", subject="lgn_slow", payload={})
            queue(core, "lgn_quick")
            quick = wait_until(viewer.read)
        late = wait_until(viewer.read)
    watch.close()
    with core.transaction() as db:
        subjects = {row.position: row.subject for row in db.scalars(select(WebhookMessage))}
    assert [subjects[each.position] for each in (*quick, *late)] == ["lgn_quick", "lgn_slow"]


def test_simultaneous_writers_and_readers_lose_nothing(core: Core) -> None:
    """Six writers, three processes that give out positions, readers that come at any moment: each sees each event once."""
    watches = [
        EventWatch(transaction=core.transaction, find_barred=lambda *_: (set(), set()), poll_seconds=0.02)
        for _ in range(3)
    ]
    queue(core, "lgn_0")
    seen: list[list[int]] = []

    def write(writer: int) -> None:
        for number in range(25):
            queue(core, f"lgn_{writer}_{number}")

    def read(number: int) -> None:
        time.sleep(number * 0.05)
        positions: list[int] = []
        with watches[number % 3].viewing(who=ALICE, cursor=0) as viewer:
            while len(positions) < 151 and viewer.wait(5) | bool(page := viewer.read()):
                positions += [each.position for each in page] or [each.position for each in viewer.read()]
        seen.append(positions)

    threads = [threading.Thread(target=write, args=[number]) for number in range(6)]
    threads += [threading.Thread(target=read, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for watch in watches:
        watch.close()
    with core.transaction() as db:
        give_out_all_positions(db)
        everything = list(db.scalars(select(WebhookMessage.position).order_by(WebhookMessage.position)))
    assert len(everything) == 151
    assert seen == [everything] * 6


def test_however_many_watch_there_is_one_read(core: Core) -> None:
    """Fifty viewers of a tenant, and as many of its past, ask PostgreSQL as often as one."""
    for number in range(30):
        queue(core, f"lgn_{number}")
    watch = EventWatch(transaction=core.transaction, find_barred=lambda *_: (set(), set()), poll_seconds=3600)
    reads: list[str] = []
    with core.transaction() as db:
        give_out_all_positions(db)
        fifth = read_page(db, tenant_id="alice", after=0)[4].position
    with ExitStack() as stack:
        viewers = [stack.enter_context(watch.viewing(who=ALICE, cursor=number % 2 * fifth)) for number in range(100)]

        def note(_: Any, __: Any, statement: str, *___: Any) -> None:
            reads.append(statement)

        sqlalchemy_event.listen(core.engine, "before_cursor_execute", note)
        assert {len(viewer.read()) for viewer in viewers} == {30, 25}
        sqlalchemy_event.remove(core.engine, "before_cursor_execute", note)
        assert len([each for each in reads if "webhook_outbox" in each]) <= 2
        assert watch.count() == 100
    assert watch.count() == 0
    watch.close()


def test_comments_carry_the_id(core: Core) -> None:
    """Who is cut off after hours of silence need not look through them."""
    watch = EventWatch(transaction=core.transaction, find_barred=lambda *_: (set(), set()), poll_seconds=0.05)
    queue(core, "lgn_1")
    with watch.viewing(who=ALICE, cursor=0) as viewer:
        stream = stream_tenant_events(viewer, comment_every_seconds=0.05)
        texts = [next(stream) for _ in range(3)]
    watch.close()
    assert texts[0] == "retry: 2000\nid: 0\n\n"
    assert texts[1].startswith("event: login.expired\nid: ")
    assert texts[2] == f": still here\nid: {viewer.position}\n\n"


def test_a_revoked_keys_stream_ends_within_five_seconds(live: Live) -> None:
    """And no other."""
    made = create_api_key(live.core.transaction, actor="test", tenant_id="alice", scopes=("logins", "sessions:read"))
    with streaming(live) as other, streaming(live, made.key) as stream:
        next(other)
        next(stream)
        began = time.monotonic()
        path = f"{live.url}/v1/tenants/alice/api-keys/{made.id}"
        assert requests.delete(path, headers=dict(live.headers), timeout=10).status_code == 200
        assert list(stream) == []
        assert time.monotonic() - began < 5
        queue(live.core, "lgn_after")
        assert take(other, 1)[0].members["data"]["login_id"] == "lgn_after"


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("?cursor=x", {}, "cursor"),
        ("?cursor=-1", {}, "cursor"),
        ("?cursor=999999999", {}, "cursor"),
        (f"?cursor={2**63}", {}, "cursor"),
        ("?since=1", {}, "since"),
        ("", {"Last_Event_ID": "x"}, "Last-Event-ID"),
        ("", {"Last_Event_ID": "9" * 30}, "Last-Event-ID"),
    ],
)
def test_a_cursor_that_is_none_is_refused(alice: Caller, query: str, headers: dict[str, str], field: str) -> None:
    """422, where silence would hide that events are missed."""
    refused = problem(alice.get(f"/v1/events{query}", **headers), 422, "invalid_request")
    assert [error["field"] for error in refused["errors"]] == [field]


def test_both_scopes_are_needed(web: tuple[FlaskClient, Parts], core: Core, nobody: Caller) -> None:
    """401 without a key, 403 with one of them."""
    problem(nobody.get("/v1/events"), 401, "unauthenticated")
    problem(nobody.get("/v1/events", Login_Secret="ls_x"), 401, "unauthenticated")
    for scopes in (("logins",), ("sessions:read",), ("webhooks", "admin")):
        caller = with_key(web[0], core, tenant_id="alice", scopes=scopes)
        problem(caller.get("/v1/events"), 403, "forbidden")


def test_streams_of_a_tenant_are_capped(make_client: Any, alice: Caller, bob: Caller) -> None:
    """429 beyond MAX_STREAMS_PER_TENANT; another tenant's are its own."""
    client, parts = make_client(max_streams_per_tenant=1)
    first, second = (client.get("/v1/events", headers=alice.headers, buffered=False) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 429)
    others = client.get("/v1/events", headers=bob.headers)
    assert (others.status_code, parts.event_watch.count()) == (200, 2)
    first.close()
    assert client.get("/v1/events", headers=alice.headers).status_code == 200


def test_positions_are_never_given_out_twice(core: Core) -> None:
    """Also when all events are pruned: a cursor stays behind what comes."""
    queue(core, "lgn_1")
    with core.transaction() as db:
        give_out_all_positions(db)
        first = read_head(db, tenant_id="alice")
        db.query(WebhookMessage).delete()
    queue(core, "lgn_2")
    with core.transaction() as db:
        give_out_all_positions(db)
        assert [each.position > first for each in read_page(db, tenant_id="alice", after=first)] == [True]
        assert db.scalar(select(func.count()).where(WebhookMessage.position.is_(None))) == 0
