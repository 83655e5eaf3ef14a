"""The main job on the whole stack: HTTP → broker → Celery worker → MTProto → PostgreSQL."""

from __future__ import annotations

import requests

from tests.stack.city import City
from tests.waiting import wait_until


def test_a_login_from_post_to_stored_session(city: City) -> None:
    """POST, scan, authorized; the session is there to be read, and holds no secret in the open."""
    account = city.telegram.create_account(first_name="Alice", username="alice_of_the_stack")
    started = city.start(metadata={"order": "17"})
    assert started["status"] == "queued"
    city.telegram.scan(account["id"], city.wait_for_qr(started["id"]))
    login = city.wait_for(started["id"], "authorized")
    session = city.call("GET", f"/v1/sessions/{login['session_id']}").json()
    assert (session["status"], session["telegram_user_id"]) == ("active", account["id"])
    assert session["username"] == "alice_of_the_stack"
    assert "session_string" not in session
    assert city.violations() == {}


def test_a_login_with_a_password(city: City) -> None:
    """password_required with hint and attempts; then authorized."""
    account = city.telegram.create_account(password="hunter2-hunter2", hint="a fish")
    started = city.start()
    city.telegram.scan(account["id"], city.wait_for_qr(started["id"]))
    login = city.wait_for(started["id"], "password_required")
    assert login["password"] == {"hint": "a fish", "attempts_left": 5}
    answer = city.call("POST", f"/v1/logins/{started['id']}/password", json={"password": "hunter2-hunter2"})
    assert answer.status_code == 202
    city.wait_for(started["id"], "authorized")


def test_the_browser_needs_only_the_logins_own_secret(city: City) -> None:
    """Login-Secret shows and drives that login alone."""
    first, other = city.start(), city.start()
    secret = {"Login-Secret": first["client_secret"]}
    assert requests.get(f"{city.web}/v1/logins/{first['id']}", headers=secret, timeout=10).status_code == 200
    assert requests.get(f"{city.web}/v1/logins/{other['id']}", headers=secret, timeout=10).status_code == 404
    cancelled = requests.delete(f"{city.web}/v1/logins/{first['id']}", headers=secret, timeout=10)
    assert cancelled.json()["status"] == "cancelled"
    city.call("DELETE", f"/v1/logins/{other['id']}")


def test_a_login_whose_message_was_lost_is_sent_again(city: City) -> None:
    """The committed row is the truth: beat's sweep sends what should be moving and is not."""
    with city.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO logins (id, tenant_id, method, status, client_secret_hash, expires_at, next_dispatch_at, key_id)"
            " SELECT 'lgn_lost', 'demo', 'qr', 'queued', ''::bytea, now() + interval '5 minutes', now(), id"
            " FROM encryption_keys WHERE state = 'active'"
        )
    city.wait_for_qr("lgn_lost", within_seconds=15)
    city.call("DELETE", "/v1/logins/lgn_lost")


def test_replace_logs_the_older_session_out_after_the_new_one_stands(city: City) -> None:
    """The account's devices show one authorization; the older session is replaced, and its string erased."""
    account = city.telegram.create_account()
    session_ids = []
    for replace in (False, True):
        started = city.start(telegram_user_id=account["id"], replace=replace)
        city.telegram.scan(account["id"], city.wait_for_qr(started["id"]))
        session_ids.append(city.wait_for(started["id"], "authorized")["session_id"])
    wait_until(lambda: len(city.telegram.authorizations(account["id"])) == 1, within_seconds=20)
    older, newer = (city.call("GET", f"/v1/sessions/{session_id}").json() for session_id in session_ids)
    assert (older["status"], newer["status"]) == ("replaced", "active")
    served = city.call("POST", "/v1/logins", json={"telegram_user_id": account["id"]})
    assert (served.status_code, served.json()["reused"], served.json()["session_id"]) == (200, True, session_ids[1])
