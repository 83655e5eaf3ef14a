"""Flows by themselves: what is sent again, and what is not. No network: a flow says what it wants, and is told what came."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from latchkey_client import Conflict, LatchkeyUnavailable, RateLimited, leases, logins, sessions
from latchkey_client.steps import Answer, Pause, Request

AWAY = LatchkeyUnavailable("Latchkey cannot be reached.", code="unavailable")


def refused(status: int, code: str, retry_after: str = "1") -> Answer:
    """An answer with a problem."""
    return Answer(status, {"retry-after": retry_after}, f'{{"code": "{code}", "detail": "…"}}'.encode())


def request_of(flow: Generator[Any, Any, Any]) -> Request:
    """The request that the flow makes now."""
    request = next(flow)
    assert isinstance(request, Request)
    return request


def next_after(flow: Generator[Any, Any, Any], came: Answer | Exception) -> Request:
    """The request that comes after this answer or failure, when the flow has had its pause."""
    pause = flow.throw(came) if isinstance(came, Exception) else flow.send(came)
    assert isinstance(pause, Pause)
    assert 0 < pause.seconds < 3
    return request_of(flow)


@pytest.mark.parametrize(
    "flow",
    [
        logins.start(end_user_id="alice"),
        logins.submit_password("lgn_1", "hunter2"),
        logins.again("lgn_1"),
        sessions.import_session("1…"),
        sessions.revoke("ses_1"),
        sessions.read("ses_1"),
    ],
    ids=lambda flow: flow.__name__,
)
def test_what_has_one_effect_is_sent_again(flow: Generator[Any, Any, Any]) -> None:
    """Three times in all, as the very same request: a POST under one idempotency key."""
    first = request_of(flow)
    assert next_after(flow, AWAY) == first
    assert next_after(flow, refused(503, "unavailable")) == first
    assert ("Idempotency-Key" in first.headers) == (first.method == "POST")
    with pytest.raises(LatchkeyUnavailable):
        flow.throw(AWAY)


def test_two_calls_have_two_idempotency_keys() -> None:
    """Unless the caller gives one."""
    assert request_of(logins.start()).headers != request_of(logins.start()).headers
    assert request_of(logins.start(idempotency_key="once")).headers == {"Idempotency-Key": "once"}


@pytest.mark.parametrize(
    "flow",
    [leases.acquire("ses_1", holder="bot-1", ttl_seconds=60), leases.renew("ses_1", "lse_1", ttl_seconds=60)],
    ids=lambda flow: flow.__name__,
)
def test_a_lease_is_asked_for_once(flow: Generator[Any, Any, Any]) -> None:
    """It counts from when it was asked for, and only the caller knows that."""
    next(flow)
    with pytest.raises(LatchkeyUnavailable):
        flow.throw(AWAY)


def test_what_may_have_happened_is_not_done_twice() -> None:
    """A cancelling that got no answer may have been done: only a refusal that did nothing is followed by another."""
    flow = logins.cancel("lgn_1")
    first = request_of(flow)
    assert next_after(flow, refused(429, "rate_limited")) == first
    with pytest.raises(LatchkeyUnavailable):
        flow.throw(AWAY)


def test_a_request_that_is_still_worked_on_is_repeated() -> None:
    """The answer to the first one got lost, and the repeat was quicker than its work."""
    flow = logins.start()
    first = request_of(flow)
    assert next_after(flow, refused(409, "idempotency_key_in_use")) == first


def test_a_long_wait_is_the_callers_business() -> None:
    """And so is every other refusal."""
    flow = logins.start()
    next(flow)
    with pytest.raises(RateLimited) as limited:
        flow.send(refused(429, "rate_limited", "120"))
    assert limited.value.retry_after_seconds == 120
    flow = logins.start()
    next(flow)
    with pytest.raises(Conflict):
        flow.send(refused(409, "idempotency_key_reused"))
