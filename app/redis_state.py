"""Redis: clients, key names and the hints that travel by pub/sub.

Everything here is hot state that PostgreSQL can do without: Redis may be flushed at any time. Values that are
secret are sealed before they come here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import redis
import redis.asyncio

from app.redis_servers import make_async_pool, make_pool
from app.together import Together

LOGIN_CHANNEL = "latchkey:login-changed"
"""Hints that a login's public state changed: ``{"id", "version"}``. Readers read the row."""

INBOX_CHANNEL = "latchkey:login-inbox"
"""Hints for the worker that drives a login: ``{"id", "what"}``, what: cancelled, switched, password, code or resend."""


ReadValue = Callable[[str], bytes | None]
"""Reads the value of a key, in as few round trips for many who ask."""

SESSION_COUNTS_KEY = "latchkey:session-counts"
"""How many sessions have which status, when there are many; lives for a minute."""

PERIODIC_LOCK_PREFIX = "latchkey:periodic:"
"""Before a periodic task's name: exists while it runs somewhere, and for seconds after its process died."""

LAST_SUCCESS_KEY = "latchkey:last-success"
"""When each periodic task last succeeded, in Unix seconds, as a hash by the task's name."""

RECENT_DEATHS_KEY = "latchkey:validator:deaths"
"""When which session was last found dead, as a sorted set; lives for a minute."""

REDIS_FIRST_SEEN_KEY = "latchkey:redis:first-seen"
"""When the sweep first met this Redis, by its own clock, in ms since 1970. Gone with everything else when Redis forgets."""

VALIDATOR_PAUSED_KEY = "latchkey:validator:paused"
"""Exists while the validator pauses, because too many sessions died at once."""


class LoginHint(NamedTuple):
    """A login changed; ``version`` is what it changed to."""

    login_id: str
    version: int


class InboxHint(NamedTuple):
    """Something waits for the worker that drives the login."""

    login_id: str
    what: str


_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
}


_CONNECTIONS = 50
"""Of one process. Who finds them all in use waits for one: without that, redis-py says no to the hundred and first caller."""


def make_redis(redis_url: str) -> redis.Redis:
    """A client for threads and greenlets; every call is bounded in time. Answers are bytes."""
    pool = make_pool(redis_url, **_OPTIONS, socket_timeout=5, max_connections=_CONNECTIONS, timeout=10)
    return redis.Redis.from_pool(pool)


def make_read_value(client: redis.Redis) -> ReadValue:
    """Bind reads of single values to a client.

    Raises (when called):
        RedisError: Redis is away.
    """

    def read_values(keys: list[str]) -> list[bytes | None]:
        values: list[bytes | None] = client.mget(keys)  # type: ignore[assignment]  # answers are bytes here
        return values

    return Together(read_values).ask


def make_async_redis(redis_url: str) -> redis.asyncio.Redis:
    """A client for the loop thread, with the same bounds."""
    pool = make_async_pool(redis_url, **_OPTIONS, socket_timeout=5, max_connections=_CONNECTIONS, timeout=10)
    return redis.asyncio.Redis.from_pool(pool)


def make_subscriber(redis_url: str) -> redis.Redis:
    """A client whose reads may wait: for pub/sub only."""
    return redis.Redis.from_pool(make_pool(redis_url, **_OPTIONS, socket_timeout=30))


def make_async_subscriber(redis_url: str) -> redis.asyncio.Redis:
    """A client on the loop thread whose reads may wait: for pub/sub only."""
    return redis.asyncio.Redis.from_pool(make_async_pool(redis_url, **_OPTIONS, socket_timeout=30))


def login_lock_key(login_id: str) -> str:
    """The lock of the worker that drives the login, and so its heartbeat: it expires 15 s after the last renewal."""
    return f"latchkey:login:{login_id}:lock"


def login_qr_key(login_id: str) -> str:
    """The current login token, sealed; expires with the token."""
    return f"latchkey:login:{login_id}:qr"


def login_origin_key(login_id: str) -> str:
    """Which request the login came from, for its log lines; lives a little longer than the login."""
    return f"latchkey:login-origin:{login_id}"


def login_inbox_key(login_id: str, what: str) -> str:
    """One sealed answer of the user (``password``, ``code``) on its way to the worker; expires after 60 s."""
    return f"latchkey:login:{login_id}:inbox:{what}"


def mini_app_opening_key(digest: str) -> str:
    """Exists once initData of this digest has started a login; lives as long as initData is taken."""
    return f"latchkey:mini-app:{digest}"


def flood_gate_key(method: str, scope: str) -> str:
    """Exists while nobody may call the method in that scope."""
    return f"latchkey:flood:{scope}:{method}"


def flood_storm_keys(method: str, api_id: int) -> tuple[str, str]:
    """Sorted sets, over the people at an api_id who met waits of the method: when they did last, and until when they wait."""
    prefix = f"latchkey:flood-storm:api:{api_id}:{method}"
    return f"{prefix}:met", f"{prefix}:until"


def recent_answers_key(number: int) -> str:
    """How many sessions were found alive in a slice of time; lives for a minute."""
    return f"latchkey:validator:answers:{number}"


def encode_login_hint(login_id: str, version: int) -> str:
    """What is published on ``LOGIN_CHANNEL``."""
    return json.dumps({"id": login_id, "version": version})


def decode_login_hint(message: bytes) -> LoginHint:
    """Read what was published on ``LOGIN_CHANNEL``."""
    fields = json.loads(message)
    return LoginHint(login_id=fields["id"], version=fields["version"])


def encode_inbox_hint(login_id: str, what: str) -> str:
    """What is published on ``INBOX_CHANNEL``."""
    return json.dumps({"id": login_id, "what": what})


def decode_inbox_hint(message: bytes) -> InboxHint:
    """Read what was published on ``INBOX_CHANNEL``."""
    fields = json.loads(message)
    return InboxHint(login_id=fields["id"], what=fields["what"])
