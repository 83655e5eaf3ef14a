"""Which request a login came from, for its log lines: kept in Redis beside the login, for whoever is not told by a message.

A login that the sweep sends again, or that another request switched to another way, is found by its first request all the same.
"""

from __future__ import annotations

import json

from redis.exceptions import RedisError

from app.core import Core
from app.correlation import correlate, correlation, message_headers, read_message_headers
from app.redis_state import login_origin_key

_AFTER_ITS_LIFE_SECONDS = 300


def keep_origin(core: Core, login_id: str) -> None:
    """Note the request at hand as a new login's. Without Redis its later lines name no request."""
    try:
        life = core.settings.qr_ttl_seconds + _AFTER_ITS_LIFE_SECONDS
        core.redis.set(login_origin_key(login_id), json.dumps(message_headers()), ex=life)
    except (RedisError, OSError):
        return


def correlate_login(core: Core, login_id: str) -> None:
    """Have what follows logged as about a login, and as for the request that it came from."""
    try:
        kept = core.redis.get(login_origin_key(login_id))
    except (RedisError, OSError):
        kept = None
    origin = read_message_headers(json.loads(kept)) if isinstance(kept, bytes) else {}
    correlate(**(origin | correlation() | {"login_id": login_id}))
