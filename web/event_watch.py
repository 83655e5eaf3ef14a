"""Waiting for a tenant's events, for any number of viewers with one query a second for all of a process.

What was read is kept for a while and shared: a viewer that comes with an older cursor reads the pages before by itself, each
page once for all who ask for it. Viewers hold no database connection while they wait.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from app.database import Transaction
from app.errors import InvalidInput, Unavailable
from app.logs import get_logger
from app.webhooks.event_log import (
    PAGE_EVENTS,
    LoggedEvent,
    give_out_all_positions,
    read_after,
    read_head,
    read_last_given_out,
    read_page,
)
from web.watch import Barred, Who

POLL_SECONDS = 1.0
_BARRED_EVERY_SECONDS = 2.5
_KEPT_EVENTS = 1000

_log = get_logger(__name__)


class EventViewer:
    """Somebody who waits for a tenant's events.

    Attributes:
        position: what the viewer has read.
        ended: they may not look any more.
    """

    def __init__(self, feed: Feed, who: Who, position: int) -> None:
        self.position = position
        self.who = who
        self.ended = False
        self._feed = feed
        self._changed = threading.Event()

    def wait(self, timeout_seconds: float) -> bool:
        """Block until there may be something to read; False when the time is up."""
        changed = self._changed.wait(timeout_seconds)
        self._changed.clear()  # before the viewer reads, so that what comes after wakes it again
        return changed

    def wake(self) -> None:
        """Say that there is something."""
        self._changed.set()

    def end(self) -> None:
        """Say that whoever views may not look any more."""
        self.ended = True
        self._changed.set()

    def read(self) -> list[LoggedEvent]:
        """The events after ``position``, which moves on to the last of them; a page at most.

        Raises:
            Unavailable: the database is away, and the events are not at hand.
        """
        events = self._feed.after(self.position)
        if events:
            self.position = events[-1].position
        return events


class _Page(NamedTuple):
    after: int
    events: list[LoggedEvent]


class Feed:
    """A tenant's events in this process: all of those after ``start``, and who waits for more."""

    def __init__(self, *, head: int, read: Callable[[int], list[LoggedEvent]]) -> None:
        self.viewers: set[EventViewer] = set()
        self.head = head
        self._start = head
        self._read = read
        self._events: deque[LoggedEvent] = deque()
        self._last_page: _Page | None = None
        self._lock = threading.Lock()

    def add(self, events: list[LoggedEvent]) -> None:
        """Take in what was read after ``head``."""
        with self._lock:
            self._events.extend(events)
            self.head = events[-1].position
            while len(self._events) > _KEPT_EVENTS:
                self._start = self._events.popleft().position

    def after(self, position: int) -> list[LoggedEvent]:
        """The events after a position, a page at most: from memory if they are there."""
        with self._lock:
            if position < self._start:
                return self._page(position)
            return [event for event in self._events if event.position > position][:PAGE_EVENTS]

    def _page(self, position: int) -> list[LoggedEvent]:
        """A page from before what is kept; whoever asks meanwhile waits, and shares it."""
        if self._last_page is not None and self._last_page.after == position:
            return self._last_page.events
        events = self._read(position)
        if len(events) == PAGE_EVENTS:  # complete: nothing will ever come in between
            self._last_page = _Page(position, events)
            return events
        older = [event for event in events if event.position <= self._start]
        self._events.extendleft(reversed(older))
        self._start = position
        return events


class EventWatch:
    """The viewers of one process. Its thread starts with the first viewer, so in the process that serves it.

    Args:
        transaction: for the reads.
        find_barred: which of these API keys, and of these tenants, may not look any more. Raises ``Unavailable``.
    """

    def __init__(self, *, transaction: Transaction, find_barred: Barred, poll_seconds: float = POLL_SECONDS) -> None:
        self._transaction = transaction
        self._find_barred = find_barred
        self._poll_seconds = poll_seconds
        self._lock = threading.Lock()
        self._feeds: dict[str, Feed] = {}
        self._started_in: int | None = None
        self._closing = threading.Event()

    @contextmanager
    def viewing(self, *, who: Who, cursor: int | None) -> Iterator[EventViewer]:
        """View the events of a tenant.

        Args:
            cursor: the position that was read last; None: what happens from now on.

        Raises:
            InvalidInput: no event can have had that cursor.
            Unavailable: the database is away.
        """
        self._start()
        with self._transaction() as db:
            give_out_all_positions(db)
        tenant_id = who.tenant_id
        with self._transaction() as db:
            head, last = read_head(db, tenant_id=tenant_id), read_last_given_out(db)
        if cursor is not None and cursor > last:
            raise InvalidInput("Check the cursor.", errors=(("cursor", "is of no event of this installation"),))
        with self._lock:
            feed = self._feeds.get(tenant_id)
            if feed is None:
                feed = self._feeds[tenant_id] = Feed(head=head, read=lambda after: self._read_page(tenant_id, after))
            viewer = EventViewer(feed, who, head if cursor is None else cursor)
            feed.viewers.add(viewer)
        try:
            yield viewer
        finally:
            with self._lock:
                feed.viewers.discard(viewer)
                if not feed.viewers and self._feeds.get(tenant_id) is feed:
                    del self._feeds[tenant_id]

    def count(self) -> int:
        """How many viewers there are."""
        with self._lock:
            return sum(len(feed.viewers) for feed in self._feeds.values())

    def close(self) -> None:
        """Let the thread end, in its own time. A process that ends anyway need not."""
        self._closing.set()

    def _read_page(self, tenant_id: str, after: int) -> list[LoggedEvent]:
        with self._transaction() as db:
            return read_page(db, tenant_id=tenant_id, after=after)

    def _start(self) -> None:
        with self._lock:
            if self._started_in == os.getpid():
                return
            self._started_in = os.getpid()
        threading.Thread(target=self._poll_for_ever, name="event-poll", daemon=True).start()

    def _poll_for_ever(self) -> None:
        looked_at = 0.0
        while not self._closing.wait(self._poll_seconds):
            try:
                self._poll()
                if time.monotonic() - looked_at >= _BARRED_EVERY_SECONDS:
                    looked_at = time.monotonic()
                    self._end_barred()
            except Unavailable:
                continue  # viewers keep waiting; the next round asks again
            except Exception:  # noqa: BLE001  # the thread's outermost edge: it must not end while viewers wait
                _log.exception("event_poll.failed")

    def _poll(self) -> None:
        with self._lock:
            feeds = dict(self._feeds)
        if not feeds:
            return
        with self._transaction() as db:
            give_out_all_positions(db)
        with self._transaction() as db:
            found = read_after(db, {tenant_id: feed.head for tenant_id, feed in feeds.items()})
        for tenant_id, events in found.items():
            feed = feeds[tenant_id]
            feed.add(events)
            with self._lock:
                viewers = list(feed.viewers)
            for viewer in viewers:
                viewer.wake()

    def _end_barred(self) -> None:
        """End what is open for keys that were revoked, and for tenants that were disabled, since."""
        with self._lock:
            viewers = [viewer for feed in self._feeds.values() for viewer in feed.viewers]
        if not viewers:
            return
        keys, tenants = self._find_barred(
            {each.who.key_id for each in viewers}, {each.who.tenant_id for each in viewers}
        )
        for viewer in viewers:
            if viewer.who.key_id in keys or viewer.who.tenant_id in tenants:
                viewer.end()
