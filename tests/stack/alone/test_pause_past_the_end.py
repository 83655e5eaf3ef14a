"""A worker that sleeps past a login's end wakes up to somebody else's living session, and must leave it alone."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.running import running_stack
from tests.stack.city import City
from tests.waiting import wait_until

LIFE_SECONDS = 20
OTHER = {"worker-logins-1": "worker-logins-2", "worker-logins-2": "worker-logins-1"}


@pytest.fixture(scope="module")
def short_lives() -> Iterator[City]:
    """A stack of its own, whose logins live for 20 s."""
    with tempfile.TemporaryDirectory(prefix="latchkey-stack-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # a run as root hands PostgreSQL to an account that has to walk through
        settings = {"QR_TTL_SECONDS": str(LIFE_SECONDS), "STRICT_RATE_PER_MINUTE": "1000"}
        with running_stack(folder, login_workers=2, settings=settings, without=("exporter", "flower", "s3")) as stack:
            city = City(stack)
            yield city
            city.engine.dispose()
            city.redis.close()


def lives(city: City, session_id: str) -> bool:
    """Whether Telegram still knows the session's key, as a validation finds."""
    before = city.call("GET", f"/v1/sessions/{session_id}").json()["last_validated_at"]
    assert city.call("POST", f"/v1/sessions/{session_id}/validate").status_code == 202

    def validated() -> str | None:
        session = city.call("GET", f"/v1/sessions/{session_id}").json()
        return str(session["status"]) if session["last_validated_at"] != before else None

    return wait_until(validated, within_seconds=30) == "active"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("accept", ["at_once", "next_export"])
def test_a_worker_that_wakes_up_after_the_end_logs_nobody_out(short_lives: City, accept: str) -> None:
    """SIGSTOP the owner, the phone scans, another worker stores the session, SIGCONT: it lives, on exactly one device."""
    city = short_lives
    account = city.telegram.create_account(accept=accept)
    started = city.start()
    url = city.wait_for_qr(started["id"])
    owner = city.rows([started["id"]])[started["id"]]["owner"].partition("@")[0]
    lost_before = city.stack.log(owner).count("login.ownership_lost")
    pid = city.kill(owner, signal.SIGSTOP)
    try:
        city.telegram.scan(account["id"], url)
        city.wait_for(started["id"], "authorized", within_seconds=LIFE_SECONDS + 25)
        assert city.rows([started["id"]])[started["id"]]["owner"].startswith(f"{OTHER[owner]}@")
    finally:
        city.kill(owner, signal.SIGCONT)
    wait_until(lambda: city.stack.log(owner).count("login.ownership_lost") > lost_before, within_seconds=15)
    assert not city.gone(pid)
    session_id = city.call("GET", f"/v1/logins/{started['id']}").json()["session_id"]
    assert lives(city, session_id)
    assert len(city.telegram.authorizations(account["id"])) == 1
    assert city.violations() == {}
