"""The funnel: how far logins come is counted, each step once, and so is where they are lost."""

from __future__ import annotations

from collections import defaultdict

from app.logins.service import cancel_login, submit_password
from tests.logins.stage import ALICE, Stage
from tests.waiting import wait_until

_STEPS = ("start", "published", "scanned", "password", "success")


def counted(stage: Stage) -> dict[str, float]:
    """The steps and losses that were counted, by all processes."""
    found: dict[str, float] = defaultdict(float)
    for core in (stage.core, *(worker.core for worker in stage.workers)):
        for family in core.registry.collect():
            for sample in family.samples:
                name = sample.name.removeprefix("telethon_auth_qr_").removesuffix("_total")
                if sample.value and sample.labels.get("tenant_id") == "alice" and name in {*_STEPS, "lost"}:
                    what = name if name != "lost" else f"{sample.labels['end']} at {sample.labels['status']}"
                    found[what] += sample.value
    return dict(found)


def to_password(stage: Stage) -> str:
    """A login that waits for a password."""
    started = stage.start()
    account = stage.telegram.create_account(password="the right one")
    stage.telegram.scan(account["id"], stage.wait_for_qr(started.login.id))
    stage.wait_for(started.login.id, "password_required")
    return started.login.id


def test_each_step_is_counted_once(stage: Stage) -> None:
    """Of a login with a password that another worker goes on with in the middle of it."""
    other = stage.add_worker()
    login_id = to_password(stage)
    stage.workers[0].logins.drain()
    wait_until(lambda: [each.name for each in stage.outcomes] == ["handed_over"])
    stage.run(login_id, worker=1)
    wait_until(
        lambda: bool(other.core.registry.get_sample_value("telethon_auth_qr_resumed_total", {"tenant_id": "alice"}))
    )
    submit_password(stage.core, login_id=login_id, reader=ALICE, password="the right one")
    stage.wait_for(login_id, "authorized")
    wait_until(lambda: "success" in counted(stage))
    assert counted(stage) == dict.fromkeys(_STEPS, 1)


def test_a_scan_that_no_worker_saw_is_counted(stage: Stage) -> None:
    """Somebody scans while the worker is away: whoever finds the key authorized counts the scan, too."""
    stage.add_worker()
    started = stage.start()
    url = stage.wait_for_qr(started.login.id)
    stage.workers[0].logins.drain()
    wait_until(lambda: [each.name for each in stage.outcomes] == ["handed_over"])
    stage.telegram.scan(stage.telegram.create_account(accept="at_once")["id"], url)
    stage.run(started.login.id, worker=1)
    stage.wait_for(started.login.id, "authorized")
    wait_until(lambda: "success" in counted(stage))
    assert counted(stage) == {"start": 1, "published": 1, "scanned": 1, "success": 1}


def test_it_is_counted_where_logins_are_lost(stage: Stage) -> None:
    """At the QR code, at the password, before anything was shown; who starts again is not lost."""
    shown = stage.start()
    stage.wait_for_qr(shown.login.id)
    cancel_login(stage.core, login_id=shown.login.id, reader=ALICE)
    cancel_login(stage.core, login_id=to_password(stage), reader=ALICE)
    stage.telegram.add_fault(method="auth.exportLoginToken", error="API_ID_INVALID", times=1)
    stage.wait_for(stage.start().login.id, "failed")
    first = stage.start(end_user_id="carol")
    stage.wait_for_qr(first.login.id)
    stage.wait_for_qr(stage.start(end_user_id="carol").login.id)
    assert stage.login(first.login.id).status == "cancelled"
    lost = {what: count for what, count in counted(stage).items() if what not in _STEPS}
    assert lost == {"cancelled at waiting_for_scan": 1, "cancelled at password_required": 1, "failed at queued": 1}
