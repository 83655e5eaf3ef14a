"""Leases: one holder, by the database's clock, and a fencing token that only grows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from app.clock import utc_now
from app.core import Core
from app.errors import Conflict, NotFound, SessionLeased
from app.models import AuditEvent, TelegramSession, Tenant
from app.sessions.leases import Lease, acquire_lease, release_lease, renew_lease
from app.sessions.planning import plan_validations
from app.sessions.revocation import revoke_session
from tests.sessions.rows import give_session


def acquire(core: Core, session_id: str, *, holder: str = "bot-1", ttl_seconds: float = 60) -> Lease:
    """Acquire a lease of Alice's."""
    return acquire_lease(
        core,
        tenant_id="alice",
        session_id=session_id,
        holder=holder,
        ttl_seconds=ttl_seconds,
        actor="api-key:key_alice",
    )


def read(core: Core, session_id: str) -> TelegramSession:
    """A session's row."""
    with core.transaction() as db:
        return db.get_one(TelegramSession, session_id)


def let_time_pass(core: Core, session_id: str) -> None:
    """Let a lease run out."""
    with core.transaction() as db:
        db.execute(
            update(TelegramSession)
            .where(TelegramSession.id == session_id)
            .values(lease_expires_at=utc_now() - timedelta(seconds=1))
        )


def test_a_lease_opens_the_session_and_the_audit_says_so(core: Core) -> None:
    """The holder gets the string session; who, why and for whom is kept."""
    session_id, string = give_session(core)
    lease = acquire_lease(
        core,
        tenant_id="alice",
        session_id=session_id,
        holder="bot-1",
        ttl_seconds=60,
        actor="api-key:key_alice",
        purpose="newsletter",
    )
    assert lease.session_string == string
    assert lease.device["device_model"] == core.settings.telegram_device_model
    assert lease.api_id == core.settings.telegram_api_id
    assert timedelta(seconds=55) < lease.expires_at - utc_now() <= timedelta(seconds=60)
    assert string not in repr(lease)
    with core.transaction() as db:
        opened, acquired = db.scalars(
            select(AuditEvent).where(AuditEvent.subject == session_id).order_by(AuditEvent.id)
        )
    assert (acquired.action, acquired.actor, acquired.reason) == ("lease.acquired", "api-key:key_alice", "newsletter")
    assert acquired.details["holder"] == "bot-1"
    event = opened
    assert (event.action, event.actor, event.reason) == (
        "session.opened",
        "api-key:key_alice",
        "leased to bot-1: newsletter",
    )


def test_a_session_keeps_the_identity_that_it_was_made_with(core: Core) -> None:
    """The tenant gets an api_id and a device of its own later: its older sessions are shown to Telegram as ever."""
    session_id, _ = give_session(core)
    with core.transaction() as db:
        db.get_one(Tenant, "alice").telegram = {"api_id": 4711, "api_hash": "new", "device_model": "New"}
    lease = acquire(core, session_id)
    assert lease.api_id == core.settings.telegram_api_id
    assert lease.device["device_model"] == core.settings.telegram_device_model
    assert "api_id" not in lease.device


def test_of_many_simultaneous_acquirers_one_wins(core: Core) -> None:
    """A race of 24 real connections, ten rounds: one holder each, the others are told who; the token grows by one a round."""
    session_id, _ = give_session(core)

    def attempt(number: int) -> Lease | str:
        try:
            return acquire(core, session_id, holder=f"bot-{number}")
        except SessionLeased as exc:
            return exc.holder

    with ThreadPoolExecutor(12) as pool:
        for round_ in range(1, 11):
            results = list(pool.map(attempt, range(24)))
            (won,) = [each for each in results if isinstance(each, Lease)]
            assert won.fencing_token == round_
            assert {each for each in results if isinstance(each, str)} == {read(core, session_id).lease_holder}
            release_lease(core, tenant_id="alice", session_id=session_id, lease_id=won.lease_id)


def test_renewing_and_taking_over_at_the_same_moment_leaves_one_holder(core: Core) -> None:
    """A lease that runs out is renewed or taken over, never both."""
    session_id, _ = give_session(core)
    for _ in range(10):
        lease = acquire(core, session_id, ttl_seconds=60)
        with core.transaction() as db:
            # Its last moment: by the time the two look, it is over for one, or not yet for the other.
            db.execute(update(TelegramSession).values(lease_expires_at=utc_now() + timedelta(milliseconds=8)))

        def renew(lease: Lease = lease) -> bool:
            try:
                renew_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, ttl_seconds=60)
            except Conflict:
                return False
            return True

        def take_over() -> bool:
            try:
                acquire(core, session_id, holder="bot-2")
            except SessionLeased:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            renewed, taken = pool.submit(renew), pool.submit(take_over)
            assert not (renewed.result() and taken.result())
        let_time_pass(core, session_id)


def test_a_lease_that_ran_out_is_lost_for_good(core: Core) -> None:
    """Not renewed, although nobody took it over: its holder may have been gone for long."""
    session_id, _ = give_session(core)
    first = acquire(core, session_id)
    let_time_pass(core, session_id)
    with pytest.raises(Conflict) as lost:
        renew_lease(core, tenant_id="alice", session_id=session_id, lease_id=first.lease_id, ttl_seconds=60)
    assert lost.value.code == "lease_lost"
    second = acquire(core, session_id, holder="bot-2")
    assert second.fencing_token > first.fencing_token
    with pytest.raises(Conflict) as refused:
        release_lease(core, tenant_id="alice", session_id=session_id, lease_id=first.lease_id)
    assert refused.value.code == "lease_lost"
    assert read(core, session_id).lease_holder == "bot-2"


def test_a_healthy_renewal_counts_as_validation(core: Core) -> None:
    """The validator need not look; a sick one is looked at as soon as the lease ends."""
    session_id, _ = give_session(core)
    with core.transaction() as db:
        db.execute(update(TelegramSession).values(last_validated_at=None, next_validation_at=utc_now()))
    lease = acquire(core, session_id)
    renew = {"tenant_id": "alice", "session_id": session_id, "lease_id": lease.lease_id, "ttl_seconds": 120}
    renewed = renew_lease(core, **renew)  # type: ignore[arg-type]
    assert renewed.expires_at > lease.expires_at
    assert read(core, session_id).last_validated_at is None
    renew_lease(core, **renew, healthy=True)  # type: ignore[arg-type]
    row = read(core, session_id)
    assert row.last_validated_at is not None
    assert row.next_validation_at is not None
    assert row.next_validation_at > utc_now()
    renew_lease(core, **renew, healthy=False)  # type: ignore[arg-type]
    release_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id)
    row = read(core, session_id)
    assert row.next_validation_at is not None
    assert row.next_validation_at <= utc_now()


def test_a_session_that_looks_dead_is_validated_when_its_lease_ends(core: Core) -> None:
    """Also when the planner had come by meanwhile, and put it off until an hour's lease would have run out."""
    session_id, _ = give_session(core)
    lease = acquire(core, session_id, ttl_seconds=3600)
    renew_lease(
        core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, ttl_seconds=3600, healthy=False
    )
    assert plan_validations(core) == 0
    put_off_until = read(core, session_id).next_validation_at
    assert put_off_until is not None
    assert put_off_until > utc_now() + timedelta(minutes=59)
    release_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id)
    assert plan_validations(core) == 1


def test_a_turn_that_came_during_a_lease_survives_its_renewals(core: Core) -> None:
    """The planner put it off until the lease would have run out; the lease goes on, and is released: it is its turn now."""
    session_id, _ = give_session(core)
    lease = acquire(core, session_id, ttl_seconds=3600)
    with core.transaction() as db:
        db.execute(update(TelegramSession).values(next_validation_at=utc_now() - timedelta(seconds=1)))
    assert plan_validations(core) == 0
    renew_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, ttl_seconds=3600)
    release_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id)
    assert plan_validations(core) == 1


def test_a_good_word_at_the_end_counts_as_the_turn_that_came(core: Core) -> None:
    """Telegram answered the holder a moment ago: nobody need ask again at once."""
    session_id, _ = give_session(core)
    lease = acquire(core, session_id, ttl_seconds=3600)
    with core.transaction() as db:
        db.execute(update(TelegramSession).values(next_validation_at=utc_now() - timedelta(seconds=1)))
    assert plan_validations(core) == 0
    release_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, healthy=True)
    turn = read(core, session_id).next_validation_at
    assert turn is not None
    assert utc_now() < turn <= utc_now() + timedelta(seconds=900)


def test_a_session_that_leaves_gets_no_turn_when_its_lease_is_released(core: Core) -> None:
    """Revoked while it was leased: there is nothing to validate any more."""
    session_id, _ = give_session(core)
    lease = acquire(core, session_id)
    revoke_session(core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")
    release_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id)
    assert read(core, session_id).next_validation_at is None


@pytest.mark.parametrize("healthy", [True, False])
def test_a_last_word_about_a_session_that_leaves_gives_it_no_turn(core: Core, healthy: bool) -> None:
    """Revoked while it was leased, and its holder says how it was."""
    session_id, _ = give_session(core)
    lease = acquire(core, session_id)
    revoke_session(core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")
    release_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, healthy=healthy)
    assert read(core, session_id).next_validation_at is None


@pytest.mark.parametrize("status", ["quarantined", "invalid", "revoking", "revoked", "replaced"])
def test_only_active_sessions_are_leased(core: Core, status: str) -> None:
    """409 ``session_not_active``, and nothing is opened."""
    session_id, _ = give_session(core, status=status)
    with pytest.raises(Conflict) as refused:
        acquire(core, session_id)
    assert refused.value.code == "session_not_active"
    with core.transaction() as db:
        actions = select(AuditEvent.action).where(AuditEvent.subject == session_id)
        assert db.scalars(actions).all() == ["lease.refused"]


def test_another_tenants_session_is_not_there(core: Core) -> None:
    """Neither to acquire, nor to renew or release."""
    session_id, _ = give_session(core)
    lease = acquire(core, session_id)
    bobs: partial[dict[str, Any]] = partial(dict, tenant_id="bob", session_id=session_id)
    for call, arguments in (
        (acquire_lease, bobs(holder="bot-1", ttl_seconds=60, actor="api-key:key_bob")),
        (renew_lease, bobs(lease_id=lease.lease_id, ttl_seconds=60)),
        (release_lease, bobs(lease_id=lease.lease_id)),
    ):
        with pytest.raises(NotFound):
            call(core, **arguments)


def test_what_becomes_of_leases_is_counted(core: Core) -> None:
    """By outcome."""
    session_id, _ = give_session(core)
    lease = acquire(core, session_id)
    with pytest.raises(SessionLeased):
        acquire(core, session_id)
    renew_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id, ttl_seconds=60)
    release_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id)
    with pytest.raises(Conflict):
        release_lease(core, tenant_id="alice", session_id=session_id, lease_id=lease.lease_id)
    for outcome in ("acquired", "session_leased", "renewed", "released", "lost"):
        assert core.registry.get_sample_value("telethon_session_leases_total", {"outcome": outcome}) == 1
