"""A session's life on the whole stack: beat, the background worker, the API and the client package."""

from __future__ import annotations

import asyncio
from typing import Any

from latchkey_client import AsyncLatchkey
from tests.stack.city import City
from tests.waiting import wait_until


def connect(city: City) -> tuple[int, str]:
    """Log a new account in by its QR code; user and session id."""
    user_id: int = city.telegram.create_account()["id"]
    login_id = city.start()["id"]
    city.telegram.scan(user_id, city.wait_for_qr(login_id))
    return user_id, city.wait_for(login_id, "authorized")["session_id"]


def session(city: City, session_id: str) -> dict[str, Any]:
    """GET a session."""
    found: dict[str, Any] = city.call("GET", f"/v1/sessions/{session_id}").json()
    return found


def wait_for_status(city: City, session_id: str, status: str) -> dict[str, Any]:
    """Wait until a session has a status."""

    def look() -> dict[str, Any]:
        found = session(city, session_id)
        return found if found["status"] == status else {}

    return wait_until(look, within_seconds=30, every_seconds=0.1)


def test_a_sessions_life(city: City) -> None:
    """Logged in, validated on demand, leased, and revoked."""
    user_id, session_id = connect(city)
    before = session(city, session_id)["last_validated_at"]
    assert city.call("POST", f"/v1/sessions/{session_id}/validate").status_code == 202
    wait_until(lambda: session(city, session_id)["last_validated_at"] > before, within_seconds=30)

    async def use() -> int:
        async with AsyncLatchkey(city.web, city.stack.description["api_key"]).lease(
            session_id, holder="bot-1"
        ) as client:
            assert session(city, session_id)["lease"]["holder"] == "bot-1"
            return int((await client.get_me()).id)

    assert asyncio.run(use()) == user_id
    assert city.call("DELETE", f"/v1/sessions/{session_id}").json()["status"] == "revoking"
    wait_for_status(city, session_id, "revoked")
    assert city.telegram.authorizations(user_id) == []
    assert city.violations() == {}


def test_a_session_ended_from_the_phone_becomes_invalid(city: City) -> None:
    """By the validator."""
    user_id, session_id = connect(city)
    city.telegram.terminate(user_id)
    city.call("POST", f"/v1/sessions/{session_id}/validate")
    assert wait_for_status(city, session_id, "invalid")["reason"]


def test_a_replaced_session_is_logged_out(city: City) -> None:
    """By the background worker, when the account logs in again; the older one's authorization is gone."""
    user_id, older = connect(city)
    login_id = city.start()["id"]
    city.telegram.scan(user_id, city.wait_for_qr(login_id))
    city.wait_for(login_id, "authorized")
    wait_for_status(city, older, "replaced")
    wait_until(lambda: len(city.telegram.authorizations(user_id)) == 1, within_seconds=30)
