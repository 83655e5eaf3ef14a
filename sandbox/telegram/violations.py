"""Counts what a well-behaved client never does.

Ignore a flood wait, use one key in parallel, call without a pause.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from sandbox.mtproto.auth_keys import AuthKey
from sandbox.mtproto.call import Call

if TYPE_CHECKING:
    from sandbox.mtproto.connection import Connection

PACE_SECONDS: Final = 0.2

log = logging.getLogger(__name__)

Waiter = tuple[str, int | str]
"""Whom a flood wait holds for: a kind (key, user or phone) and which one."""


class Violations:
    """The three counters of the statistics, and what is needed to know when to count."""

    def __init__(self, *, takeover_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at nought.

        Args:
            takeover_seconds: how long an open connection must have been silent for another one to take its key over.
            clock: monotonic.
        """
        self._takeover_seconds = takeover_seconds
        self.counts: Counter[str] = Counter(flood_wait=0, parallel_auth_key=0, unpaced=0)
        self._clock = clock
        self._waits: dict[tuple[Waiter, str], float] = {}
        self._last_calls: dict[int, tuple[float, int, str]] = {}
        self._owners: dict[int, tuple[Connection, float]] = {}

    # -- flood waits

    def start_wait(self, method: str, seconds: float, *, whom: Collection[Waiter]) -> None:
        """Note that these must not call a method for so many seconds."""
        now = self._clock()
        self._waits = {wait: until for wait, until in self._waits.items() if until > now}
        for waiter in whom:
            self._waits[waiter, method] = now + seconds

    def check_wait(self, method: str, *, whom: Collection[Waiter]) -> int:
        """Count a call before its flood wait is over.

        Return the whole seconds still to wait, 0 when there are none.
        """
        now = self._clock()
        until = max((self._waits.get((waiter, method), 0.0) for waiter in whom), default=0.0)
        if until <= now:
            return 0
        self.counts["flood_wait"] += 1
        return math.ceil(until - now)

    def lift_waits(self) -> None:
        """Forget all flood waits."""
        self._waits.clear()

    # -- pacing

    def check_pace(self, call: Call, *, method: str) -> None:
        """Count a call that follows the same key's last one by less than 200 ms, and say which two they were.

        Both clocks must say so: that of the bytes' arrival, and the client's own, which every msg_id carries.
        A call that was sent in time and then waited in a busy machine's queues is not the client's fault.
        """
        key_id = call.session.auth_key.key_id
        arrived_at, msg_id = call.arrived_at, call.message.msg_id
        last_arrival, last_msg_id, last_method = self._last_calls.get(key_id, (-math.inf, 0, ""))
        self._last_calls[key_id] = (arrived_at, msg_id, method)
        seconds = arrived_at - last_arrival
        if seconds < PACE_SECONDS and _sent_apart(last_msg_id, msg_id) < PACE_SECONDS:
            self.counts["unpaced"] += 1
            log.warning("auth key %016x calls %s %.0f ms after %s", key_id, method, seconds * 1000, last_method)

    # -- one connection per key

    def is_parallel(self, call: Call) -> bool:
        """Tell whether a key's requests came over two connections that are both open; count it.

        The connection that makes a request owns the key. Another one may take over without blame when the owner
        has closed or has made no request for `takeover_seconds`: so does a client whose old connection died
        without the server noticing. But a connection that lost the key and makes a request again while both are
        open is parallel use, however slow.
        """
        key, connection, now = call.session.auth_key, call.connection, self._clock()
        owner, last_request = self._owners.get(key.key_id, (connection, now))
        is_second = connection is not owner and owner in key.connections
        if is_second and not owner.has_hung_up() and not connection.has_hung_up():
            was_superseded = key.key_id in connection.superseded_keys
            if was_superseded or now - last_request < self._takeover_seconds:
                self.counts["parallel_auth_key"] += 1
                return True
            owner.superseded_keys.add(key.key_id)
        connection.superseded_keys.discard(key.key_id)
        self._owners[key.key_id] = (connection, now)
        return False

    def forget(self, auth_key: AuthKey) -> None:
        """Drop what is remembered of a key that is gone."""
        self._owners.pop(auth_key.key_id, None)
        self._last_calls.pop(auth_key.key_id, None)


def _sent_apart(earlier: int, later: int) -> float:
    """Return the seconds between two msg_ids, by the reading that favours the client.

    Their low half is a fraction of a second by the protocol; some clients put nanoseconds times four there
    instead.
    """
    as_fraction = (later - earlier) / 2**32

    def in_nanoseconds(msg_id: int) -> float:
        return (msg_id >> 32) + ((msg_id & 0xFFFFFFFF) >> 2) / 1e9

    return max(as_fraction, in_nanoseconds(later) - in_nanoseconds(earlier))
