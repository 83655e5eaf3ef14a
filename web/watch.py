"""Waiting for logins to change, for any number of viewers with one Redis subscription and one query every few seconds.

A hint from Redis wakes the viewers of that login at once. As hints may be lost (and Redis away), one query for all
viewed logins catches up every ``FALLBACK_SECONDS``. Viewers hold no database connection while they wait.
"""

from __future__ import annotations

import os
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import redis

from app.errors import Unavailable
from app.logins.view import LoginView
from app.logs import get_logger
from app.redis_state import LOGIN_CHANNEL, decode_login_hint

_log = get_logger(__name__)

FALLBACK_SECONDS = 2.5
_LONGEST_BACKOFF_SECONDS = 10.0
_LISTEN_SECONDS = 5.0


Barred = Callable[[set[str], set[str]], tuple[set[str], set[str]]]
"""Says which of these API keys, and of these tenants, may not look any more. Raises ``Unavailable``."""


class Who(NamedTuple):
    """The API key that something is viewed with, and its tenant."""

    key_id: str
    tenant_id: str


class Viewer:
    """Somebody who waits for one login to change.

    Attributes:
        known_version: what the viewer has read; news of it or of anything older wakes nobody.
        who: for whom the login is viewed; None: for whoever has the login's own secret.
        ended: they may not look any more.
    """

    def __init__(self, viewed: Viewed | None = None, who: Who | None = None) -> None:
        self.known_version = 0
        self.who = who
        self.ended = False
        self._told_version = 0
        self._viewed = viewed or Viewed()
        self._changed = threading.Event()

    def wait(self, timeout_seconds: float) -> bool:
        """Block until there may be something newer to read; False when the time is up."""
        changed = self._changed.wait(timeout_seconds)
        self._changed.clear()  # before the viewer reads, so that what comes after wakes it again
        return changed

    def tell(self, version: int) -> None:
        """Say that the login has reached a version."""
        self._told_version = max(self._told_version, version)
        if version > self.known_version:
            self._changed.set()

    def end(self) -> None:
        """Say that whoever views may not look any more."""
        self.ended = True
        self._changed.set()

    def read(self, read: Callable[[], LoginView]) -> LoginView:
        """The login as it was read after the change that this viewer was told of: once for all who were told of it.

        Args:
            read: reads it; what it raises is this viewer's alone.
        """
        return self._viewed.read(read, at_least=self._told_version, by_key=self.who is not None)


class Viewed:
    """A login that somebody views: its viewers, and the last read of it that they share."""

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self._lock = threading.Lock()
        self._reads: dict[bool, LoginView] = {}

    def read(self, read: Callable[[], LoginView], *, at_least: int, by_key: bool) -> LoginView:
        """What was read since a version, or what is read now.

        Args:
            by_key: whether it is for an API key, which is shown more than the login's own secret.
        """
        with self._lock:
            shared = self._reads.get(by_key)
            if shared is None or shared.version < at_least:
                shared = self._reads[by_key] = read()
            return shared


class LoginWatch:
    """The viewers of one process. Its two threads start with the first viewer, so in the process that serves it.

    Args:
        make_subscriber: connects to Redis for a subscription.
        read_versions: the versions of many logins, by id, in one query. Raises ``Unavailable``.
        find_barred: which of these API keys, and of these tenants, may not look any more. Raises ``Unavailable``.
    """

    def __init__(
        self,
        *,
        make_subscriber: Callable[[], redis.Redis],
        read_versions: Callable[[list[str]], dict[str, int]],
        find_barred: Barred | None = None,
        fallback_seconds: float = FALLBACK_SECONDS,
    ) -> None:
        self._find_barred = find_barred
        self._make_subscriber = make_subscriber
        self._read_versions = read_versions
        self._fallback_seconds = fallback_seconds
        self._lock = threading.Lock()
        self._viewed: dict[str, Viewed] = defaultdict(Viewed)
        self._started_in: int | None = None
        self._closing = threading.Event()

    @contextmanager
    def viewing(self, login_id: str, *, who: Who | None = None) -> Iterator[Viewer]:
        """Be told of a login's changes from here on; read the login inside, so that no change falls in between.

        Args:
            who: for whom; None: for whoever has the login's own secret.
        """
        self._start()
        with self._lock:
            viewed = self._viewed[login_id]
            viewer = Viewer(viewed, who)
            viewed.viewers.add(viewer)
        try:
            yield viewer
        finally:
            with self._lock:
                viewed.viewers.discard(viewer)
                if not viewed.viewers:
                    self._viewed.pop(login_id, None)

    def count(self) -> int:
        """How many viewers there are."""
        with self._lock:
            return sum(len(viewed.viewers) for viewed in self._viewed.values())

    def close(self) -> None:
        """Let the threads end, in their own time. A process that ends anyway need not."""
        self._closing.set()

    def _start(self) -> None:
        with self._lock:
            if self._started_in == os.getpid():
                return
            self._started_in = os.getpid()
        threading.Thread(target=self._listen_for_ever, name="login-hints", daemon=True).start()
        threading.Thread(target=self._catch_up_for_ever, name="login-fallback", daemon=True).start()

    def _tell(self, login_id: str, version: int) -> None:
        with self._lock:
            viewers = list(self._viewed[login_id].viewers) if login_id in self._viewed else []
        for viewer in viewers:
            viewer.tell(version)

    def _listen_for_ever(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                for login_id, version in self._hints():
                    failures = 0
                    self._tell(login_id, version)
            except Exception as exc:  # noqa: BLE001  # the thread's outermost edge: it must not end while viewers wait
                failures += 1
                pause_seconds = _backoff_seconds(failures)
                _log.warning("hints.lost", error=type(exc).__name__, retry_in_seconds=round(pause_seconds, 2))
                self._closing.wait(pause_seconds)

    def _hints(self) -> Iterator[tuple[str, int]]:
        with self._make_subscriber() as client, client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(LOGIN_CHANNEL)
            while not self._closing.is_set():
                message = subscription.get_message(timeout=_LISTEN_SECONDS)
                if message is not None:
                    yield decode_login_hint(message["data"])

    def _catch_up_for_ever(self) -> None:
        while not self._closing.wait(self._fallback_seconds):
            with self._lock:
                viewed = list(self._viewed)
            try:
                versions = self._read_versions(viewed) if viewed else {}
                self._end_barred()
            except Unavailable:
                continue  # viewers keep waiting; the next round asks again
            except Exception:  # noqa: BLE001  # the thread's outermost edge: it must not end while viewers wait
                _log.exception("fallback.failed")
                continue
            for login_id, version in versions.items():
                self._tell(login_id, version)

    def _end_barred(self) -> None:
        """End what is open for keys that were revoked, and for tenants that were disabled, since."""
        with self._lock:
            viewers = [each for viewed in self._viewed.values() for each in viewed.viewers if each.who is not None]
        who = {each.who for each in viewers if each.who is not None}
        if self._find_barred is None or not who:
            return
        keys, tenants = self._find_barred({each.key_id for each in who}, {each.tenant_id for each in who})
        for viewer in viewers:
            if viewer.who is not None and (viewer.who.key_id in keys or viewer.who.tenant_id in tenants):
                viewer.end()


def _backoff_seconds(failures: int) -> float:
    longest: float = min(_LONGEST_BACKOFF_SECONDS, 0.25 * 2 ** min(failures, 8))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
