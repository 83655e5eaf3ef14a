"""The event stream as text: comments, and what a database that is away does to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from app.core import Core
from app.database import make_engine, make_read_row
from app.logins.service import Reader, read_login
from tests.web.callers import Caller
from tests.web.playing_worker import PlayingWorker
from web.streams import stream_events
from web.watch import Viewer

ALICE = Reader(tenant_id="alice")


def test_comments_keep_a_quiet_stream_open(alice: Caller, core: Core) -> None:
    """Where nothing happens, a comment says so every now and then."""
    login = read_login(core, login_id=alice.start_login()["id"], reader=ALICE)
    stream = stream_events(core, Viewer(), login=login, reader=ALICE, comment_every_seconds=0.05)
    texts = [next(stream) for _ in range(4)]
    assert texts[0].startswith("retry: ")
    assert texts[1].startswith(f"event: login\nid: {login.version}\ndata: {{")
    assert texts[2:] == [": still here\n\n"] * 2


def test_every_event_is_one_line_of_data(alice: Caller, core: Core) -> None:
    """Line breaks in a login's metadata do not break the stream's format."""
    login = read_login(core, login_id=alice.start_login(metadata={"a": "x\r\n\r\ndata: y"})["id"], reader=ALICE)
    event = list(_two(stream_events(core, Viewer(), login=login, reader=ALICE)))[1]
    assert len(event.splitlines()) == 4
    assert event.endswith("}\n\n")


def test_a_stream_outlives_the_database(alice: Caller, core: Core) -> None:
    """A change that cannot be read now is read when the database is back."""
    login = read_login(core, login_id=alice.start_login()["id"], reader=ALICE)
    nowhere = make_engine("postgresql+psycopg2://x@127.0.0.1:1/x")
    reads = [make_read_row(nowhere, alone=nowhere), core.read_row]

    def read_row(statement: Any, key: str | bytes) -> Any:
        return reads.pop(0)(statement, key)

    viewer = Viewer()
    stream = stream_events(replace(core, read_row=read_row), viewer, login=login, reader=ALICE)
    assert len(list(_two(stream))) == 2
    viewer.tell(PlayingWorker(core, login.id).finish("expired").version)
    assert next(stream) == ": the database is away\n\n"
    assert '"status":"expired"' in next(stream)
    assert list(stream) == []


def _two(stream: Iterator[str]) -> Iterator[str]:
    yield next(stream)
    yield next(stream)


def test_each_new_code_comes_drawn_before_the_login_that_has_it(alice: Caller, core: Core) -> None:
    """To who asks for that, and once for each code, however often its login changes."""
    login_id = alice.start_login()["id"]
    worker, reader = PlayingWorker(core, login_id), ALICE
    viewer = Viewer()
    url = worker.publish_qr()
    login = read_login(core, login_id=login_id, reader=reader)
    stream = stream_events(core, viewer, login=login, reader=reader, draw=lambda url: f"<svg>{url}</svg>")
    next(stream)
    assert next(stream) == f"event: qr\ndata: {json.dumps({'url': url, 'svg': f'<svg>{url}</svg>'})}\n\n"
    assert next(stream).startswith("event: login\n")
    worker.advance(retry_after_at=None)
    viewer.tell(worker.advance(retry_after_at=None))
    assert next(stream).startswith("event: login\n")
    newer = worker.publish_qr()
    viewer.tell(read_login(core, login_id=login_id, reader=reader).version)
    assert newer in next(stream)
    assert f'"{newer}"' in next(stream)
