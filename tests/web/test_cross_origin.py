"""A tenant's own page may follow a login from its own origin."""

from __future__ import annotations

from tests.web.callers import Caller

ORIGIN = "https://shop.example"


def test_a_login_may_be_followed_from_any_origin(alice: Caller, nobody: Caller) -> None:
    """The preflight allows the secret's header, and the answer, even a refusal, may be read."""
    login = alice.start_login()
    path = f"/v1/logins/{login['id']}"
    asked = nobody.call("OPTIONS", path, headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"})
    assert asked.status_code == 200
    assert asked.headers["Access-Control-Allow-Origin"] == "*"
    assert "Login-Secret" in asked.headers["Access-Control-Allow-Headers"]
    for secret, status in ((login["client_secret"], 200), ("ls_wrong", 404)):
        answer = nobody.get(path, Login_Secret=secret, Origin=ORIGIN)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, "*")


def test_api_keys_are_not_for_pages(alice: Caller, nobody: Caller) -> None:
    """No page may send an API key, and no route that needs one answers another origin."""
    asked = nobody.call("OPTIONS", f"/v1/logins/{alice.start_login()['id']}", headers={"Origin": ORIGIN})
    assert "Authorization" not in asked.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in asked.headers
    for path in ("/v1/logins", "/v1/sessions", "/v1/tenants", "/metrics"):
        assert "Access-Control-Allow-Origin" not in nobody.call("OPTIONS", path, headers={"Origin": ORIGIN}).headers
