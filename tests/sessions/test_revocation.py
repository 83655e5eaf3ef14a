"""Revoking: logged out at Telegram, verified, erased; and retried for as long as it takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.clock import utc_now
from app.errors import Conflict, NotFound
from app.models import TelegramSession
from app.sessions.leases import release_lease, renew_lease
from app.sessions.revocation import LOG_OUT_TASK, leave_to_sweep, revoke_session, sweep_log_outs
from app.sessions.store import REVOKE_GRACE_SECONDS
from tests.sessions.stage import Stage


def revoke(stage: Stage, session_id: str) -> TelegramSession:
    """DELETE a session of Alice's."""
    return revoke_session(
        stage.core, tenant_id="alice", session_id=session_id, actor="api-key:key_alice", reason="requested"
    )


def let_it_be_due(stage: Stage, session_id: str) -> None:
    """Let the pause before the next try pass."""
    stage.change(session_id, next_logout_at=utc_now() - timedelta(seconds=1))


def test_a_revoked_session_is_logged_out_and_erased(stage: Stage) -> None:
    """Revoking at once, and sent; then gone at Telegram and from the row; the tenant and the audit hear of it."""
    stage.listen()
    user_id = stage.account()
    session_id = stage.connect(user_id, order="17")
    assert revoke(stage, session_id).status == "revoking"
    assert stage.sent.tasks == [(LOG_OUT_TASK, session_id)]
    assert len(stage.telegram.authorizations(user_id)) == 1

    assert stage.log_out(session_id) == "done"
    assert stage.telegram.authorizations(user_id) == []
    row = stage.row(session_id)
    assert (row.status, row.reason) == ("revoked", "requested")
    assert (row.session_sealed, row.key_id, row.auth_key_hash, row.lease_id) == (None, None, None, None)
    assert (row.logout_pending, row.next_logout_at) == (False, None)
    assert stage.events() == [
        (
            "session.revoked",
            {
                "session_id": session_id,
                "telegram_user_id": user_id,
                "end_user_id": None,
                "reason": "requested",
                "metadata": {"order": "17"},
            },
        )
    ]
    actions = [(action, actor) for action, actor, _ in stage.audit(session_id)]
    assert actions[0] == ("session.revoking", "api-key:key_alice")
    assert [action for action, _ in actions[1:]] == ["session.opened", "session.logged_out"]
    assert stage.violations() == {}


def test_revoking_may_be_repeated(stage: Stage) -> None:
    """The second DELETE changes nothing, nor does a message that comes twice, nor one that comes late."""
    session_id = stage.connect()
    first = revoke(stage, session_id)
    assert revoke(stage, session_id).version == first.version
    assert stage.sent.tasks == [(LOG_OUT_TASK, session_id)]
    assert stage.log_out(session_id) == "done"
    assert stage.log_out(session_id) == "not_pending"
    assert revoke(stage, session_id).status == "revoked"
    assert stage.calls("auth.logOut") == 1


def test_another_tenants_session_is_not_there(stage: Stage) -> None:
    """404, and it stays as it is."""
    session_id = stage.connect(tenant="bob")
    with pytest.raises(NotFound):
        revoke(stage, session_id)
    assert stage.row(session_id).status == "active"


def test_a_session_that_is_dead_already_is_erased(stage: Stage) -> None:
    """Ended from the phone before: the refusal is as good as a log-out."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    stage.telegram.terminate(user_id)
    revoke(stage, session_id)
    assert stage.log_out(session_id) == "done"
    assert stage.row(session_id).status == "revoked"


@pytest.mark.parametrize(
    "fault", [{"error": "INTERNAL_SERVER_ERROR"}, {"error": "FLOOD_WAIT_30"}, {"drop_connection": True}]
)
def test_a_log_out_that_fails_is_tried_again(stage: Stage, fault: dict[str, object]) -> None:
    """Later, not before a flood wait is over; the ciphertext is kept until it is done."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    revoke(stage, session_id)
    stage.telegram.add_fault("auth.logOut", times=1, user_id=user_id, **fault)
    assert stage.log_out(session_id) == "put_off"
    row = stage.row(session_id)
    assert (row.status, row.logout_tries, row.logout_pending, row.lease_id) == ("revoking", 1, True, None)
    assert row.session_sealed is not None
    assert row.next_logout_at is not None
    assert row.next_logout_at > utc_now() + timedelta(seconds=30 if "FLOOD" in str(fault) else 2)
    assert sweep_log_outs(stage.core) == 0
    stage.telegram.clear_faults()
    if "FLOOD" not in str(fault):
        let_it_be_due(stage, session_id)
        assert sweep_log_outs(stage.core) == 1
        assert stage.log_out(session_id) == "done"
    assert stage.violations() == {}


def test_pauses_grow_while_telegram_is_away(stage: Stage) -> None:
    """And when it is back, the log-out is done."""
    session_id = stage.connect()
    revoke(stage, session_id)
    stage.telegram.network("refuse", cut_all=True)
    pauses = []
    for _ in range(3):
        assert stage.log_out(session_id) == "put_off"
        next_logout_at = stage.row(session_id).next_logout_at
        assert next_logout_at is not None
        pauses.append((next_logout_at - utc_now()).total_seconds())
    assert pauses == sorted(pauses)
    assert pauses[2] > 8 * pauses[0]
    stage.telegram.network("ok")
    assert stage.log_out(session_id) == "done"


def test_a_log_out_that_telegram_took_but_did_not_mean_is_noticed(stage: Stage) -> None:
    """It is done when Telegram does not know the key any more, and not when a call went well."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    revoke(stage, session_id)
    # The answer "not authorized" without a log-out behind it: a server that is wrong for a moment.
    stage.telegram.add_fault("auth.logOut", error="AUTH_KEY_UNREGISTERED", times=1, user_id=user_id)
    assert stage.log_out(session_id) == "put_off"
    assert stage.row(session_id).session_sealed is not None
    assert stage.log_out(session_id) == "done"
    assert stage.telegram.authorizations(user_id) == []


def test_a_key_that_telegram_denies_for_a_moment_is_logged_out_all_the_same(stage: Stage) -> None:
    """Log-out and look are both denied, falsely: the ciphertext, which alone could end the authorization, is kept."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    revoke(stage, session_id)
    for method in ("auth.logOut", "users.getUsers"):
        stage.telegram.add_fault(method, error="AUTH_KEY_UNREGISTERED", times=1, user_id=user_id)
    assert stage.log_out(session_id) == "put_off"
    row = stage.row(session_id)
    assert (row.status, row.logout_pending) == ("revoking", True)
    assert row.session_sealed is not None
    assert len(stage.telegram.authorizations(user_id)) == 1
    assert stage.log_out(session_id) == "done"
    assert stage.telegram.authorizations(user_id) == []


def test_a_key_that_telegram_goes_on_denying_is_given_up(stage: Stage) -> None:
    """Nobody is logged in with it: after three looks, some twenty seconds apart, that is believed."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    (device,) = stage.telegram.authorizations(user_id)
    stage.telegram.terminate(user_id, device["hash"])
    revoke(stage, session_id)
    assert [stage.log_out(session_id) for _ in range(3)] == ["put_off", "put_off", "done"]
    assert (stage.row(session_id).status, stage.row(session_id).session_sealed) == ("revoked", None)


def test_a_session_that_was_given_up_for_its_denials_is_believed_dead(stage: Stage) -> None:
    """It has been asked about for 21 minutes already."""
    user_id = stage.account()
    session_id = stage.connect(user_id)
    (device,) = stage.telegram.authorizations(user_id)
    stage.telegram.terminate(user_id, device["hash"])
    stage.change(session_id, status="invalid", reason="auth_key_unregistered", denials=3, auth_key_hash=None)
    revoke(stage, session_id)
    assert stage.log_out(session_id) == "done"


def test_revoking_wins_over_a_lease_but_not_beside_its_holder(stage: Stage) -> None:
    """The lease is renewed no more and ends within the grace; the log-out waits for that, and comes when it is released."""
    session_id = stage.connect()
    lease = stage.lease(session_id, ttl_seconds=3600)
    revoke(stage, session_id)
    with pytest.raises(Conflict) as lost:
        renew_lease(stage.core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, ttl_seconds=3600)
    assert lost.value.code == "lease_lost"
    assert stage.log_out(session_id) == "leased"
    row = stage.row(session_id)
    assert row.lease_expires_at is not None
    assert row.lease_expires_at <= utc_now() + timedelta(seconds=REVOKE_GRACE_SECONDS)
    assert row.next_logout_at == row.lease_expires_at
    assert stage.calls("auth.logOut") == 0

    release_lease(stage.core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id)
    assert sweep_log_outs(stage.core) == 1
    assert stage.log_out(session_id) == "done"


def test_a_holder_that_stays_loses_the_session_when_the_grace_is_over(stage: Stage) -> None:
    """However long its lease was granted for."""
    session_id = stage.connect()
    stage.lease(session_id, ttl_seconds=3600)
    revoke(stage, session_id)
    stage.change(session_id, lease_expires_at=utc_now())
    assert stage.log_out(session_id) == "done"


def test_a_key_that_is_away_puts_the_log_out_off(stage: Stage) -> None:
    """Without it nothing can be logged out; the ciphertext stays, and the sweep comes back."""
    session_id = stage.connect()
    revoke(stage, session_id)
    stage.lose_key(session_id)
    assert stage.log_out(session_id) == "put_off"
    row = stage.row(session_id)
    assert (row.status, row.logout_pending, row.lease_id) == ("revoking", True, None)
    assert row.session_sealed is not None
    assert row.next_logout_at is not None
    assert row.next_logout_at > utc_now() + timedelta(seconds=60)


def test_a_replaced_session_is_logged_out_and_stays_replaced(stage: Stage) -> None:
    """The newest session of an account wins; the older one's lease is cut short and its key logged out."""
    stage.listen()
    user_id = stage.account()
    older = stage.connect(user_id)
    lease = stage.lease(older, ttl_seconds=3600)
    newer = stage.connect(user_id)
    row = stage.row(older)
    assert row.status == "replaced"
    assert row.lease_expires_at is not None
    assert row.lease_expires_at <= utc_now() + timedelta(seconds=REVOKE_GRACE_SECONDS)
    release_lease(stage.core, tenant_id="alice", session_id=older, lease_id=lease.lease_id)
    assert stage.log_out(older) == "done"
    assert (stage.row(older).status, stage.row(older).session_sealed) == ("replaced", None)
    assert stage.validate(newer) == {"ok": 1}
    assert [event for event, _ in stage.events()] == ["session.replaced"]


def test_the_sweep_sends_what_a_lost_message_left(stage: Stage) -> None:
    """Once per due moment; what a busy worker gives back is due again within seconds."""
    session_id = stage.connect()
    revoke(stage, session_id)
    stage.sent.tasks.clear()
    assert sweep_log_outs(stage.core) == 0
    let_it_be_due(stage, session_id)
    assert sweep_log_outs(stage.core) == 1
    assert sweep_log_outs(stage.core) == 0
    assert stage.sent.tasks == [(LOG_OUT_TASK, session_id)]
    leave_to_sweep(stage.core, session_id)
    next_logout_at = stage.row(session_id).next_logout_at
    assert next_logout_at is not None
    assert next_logout_at <= utc_now() + timedelta(seconds=10)
