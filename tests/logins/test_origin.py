"""Which request a login came from is known to whoever drives it, however the login got there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from app.core import Core
from app.correlation import begin, correlation
from app.logins.origin import correlate_login, keep_origin


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    begin()


def test_a_login_that_the_sweep_sends_again_is_found_by_its_request(core: Core) -> None:
    """Its run has no message of that request, and says both all the same; so do those that have one."""
    begin(request_id="req_first", idempotency_key="order-1", session_id="ses_not_carried")
    keep_origin(core, "lgn_1")
    begin(task="latchkey.run_qr_login")
    correlate_login(core, "lgn_1")
    found = {"request_id": "req_first", "idempotency_key": "order-1"}
    assert correlation() == {"task": "latchkey.run_qr_login", "login_id": "lgn_1", **found}


def test_a_later_request_is_named_and_the_key_stays(core: Core) -> None:
    """A login that another request switched to another way: by that request, under its first one's key."""
    begin(request_id="req_first", idempotency_key="order-1")
    keep_origin(core, "lgn_1")
    begin(request_id="req_of_the_switch")
    correlate_login(core, "lgn_1")
    assert correlation() == {"request_id": "req_of_the_switch", "idempotency_key": "order-1", "login_id": "lgn_1"}


def test_what_is_kept_ends_with_the_login(core: Core) -> None:
    """No trace of a request stays in Redis for longer than a login lives and five minutes."""
    begin(request_id="req_first")
    keep_origin(core, "lgn_1")
    (key,) = core.redis.keys("latchkey:login-origin:*")
    assert 0 < core.redis.ttl(key) <= core.settings.qr_ttl_seconds + 300


def test_without_redis_logins_go_on(core: Core) -> None:
    """Their lines then say the login's id alone."""
    core.redis.connection_pool = redis.ConnectionPool.from_url("redis://127.0.0.1:1/0")
    begin(request_id="req_first")
    keep_origin(core, "lgn_1")
    begin()
    correlate_login(core, "lgn_1")
    assert correlation() == {"login_id": "lgn_1"}
