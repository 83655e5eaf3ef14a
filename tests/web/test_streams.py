"""The event stream as text: comments, and what a database that is away does to it."""

from __future__ import annotations

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
