"""A re-login while others are at its session: a tenant's lease, a validation, a revocation, a backup; with real connections.

Whoever comes first, whatever comes in between: an auth key is one row's, a verdict on the old one is none on the new one, what
was revoked stays revoked, and what a backup says is what was stored.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import pytest
from sqlalchemy import select

from app.backups.authentic import make_signer
from app.backups.bucket import Bucket
from app.backups.content import Content
from app.backups.due import find_due, make_object, mark_backed_up, read_clock
from app.backups.tenant_keys import TenantKeys, remove_layer
from app.core import Core
from app.errors import AppError, Conflict
from app.models import TelegramSession
from app.sessions.claim import Account, Claimed
from app.sessions.holding import HeldSession, hold_session
from app.sessions.leases import Lease, acquire_lease, renew_lease
from app.sessions.relogin import claim_again
from app.sessions.revocation import revoke_session
from app.sessions.store import fingerprint
from app.sessions.verdicts import LoginLink, found_alive, found_dead, found_denied
from app.settings import DataCentre
from app.telegram.identity import identity_for
from app.telegram.string_sessions import make_string_session, read_string_session
from app.vault.places import session_place
from app.vault.sealing import Sealed
from app.vault.transact import transact
from tests.sessions.rows import give_session

ROUNDS = 25
LINK = LoginLink("lgn_1", "https://latchkey.example/login/lgn_1")


def log_in_again(core: Core, session_id: str, user_id: int) -> tuple[Claimed | None, str]:
    """What the end of a re-login does; the session, and the string session of the new auth key."""
    string = make_string_session(auth_key=os.urandom(256), data_centre=DataCentre(2, "127.0.0.1", 4430))
    claimed = transact(
        core.transaction,
        core.keyring,
        lambda db: claim_again(
            db,
            core.keyring,
            actor="test",
            tenant_id="alice",
            session_id=session_id,
            account=Account(telegram_user_id=user_id, username=None, first_name="Alice", phone=None),
            string_session=string,
            dc_id=2,
            identity=identity_for(core.settings, {}),
            validation_interval_seconds=900,
        ),
    )
    return claimed, string


def rows(core: Core, user_id: int) -> list[TelegramSession]:
    """All sessions of an account."""
    with core.transaction() as db:
        return list(db.scalars(select(TelegramSession).where(TelegramSession.telegram_user_id == user_id)))


def row(core: Core, session_id: str) -> TelegramSession:
    """A session's row."""
    with core.transaction() as db:
        return db.get_one(TelegramSession, session_id)


def string_of(core: Core, session: TelegramSession) -> str:
    """What is sealed in a row."""
    assert session.key_id is not None
    assert session.session_sealed is not None
    place = session_place("alice", session.id)
    return core.keyring.open(place, Sealed(session.key_id, session.session_sealed)).decode()


def lease(core: Core, session_id: str) -> Lease | AppError:
    """Acquire a lease, or hear why not."""
    try:
        return acquire_lease(core, tenant_id="alice", session_id=session_id, holder="bot", ttl_seconds=60, actor="test")
    except AppError as exc:
        return exc


def hold(core: Core, session_id: str) -> HeldSession | None:
    """Hold a session as the validator does."""
    return hold_session(
        core, session_id=session_id, holder="latchkey:validator", reason="validation", statuses=("active",)
    )


def validate(core: Core, session_id: str) -> str:
    """Find a session dead, unless somebody holds it."""
    held = hold(core, session_id)
    return "leased" if held is None else found_dead(core, held, cause="session_revoked", log_in_again=lambda _: LINK)


def revoke(core: Core, session_id: str) -> None:
    """Revoke a session."""
    revoke_session(core, tenant_id="alice", session_id=session_id, actor="test", reason="requested")


class Shelf:
    """Where a bucket would be: it takes what is put there, which nobody here looks at."""

    def list_keys(self, prefix: str) -> list[str]:
        """Nothing is there yet."""
        return []

    def put(self, key: str, body: bytes, *, locked: bool = True) -> None:
        """Take it."""

    def delete(self, keys: list[str]) -> list[str]:
        """Nothing to do."""
        return keys


def back_up(core: Core, session_id: str, meanwhile: Callable[[], Any] = lambda: None) -> Content:
    """Back a session up as a run does, with something going on while it is stored; what was stored."""
    signer = make_signer(core.transaction, core.keyring)
    with core.transaction() as db:
        now = read_clock(db)
        (due,) = (each for each in find_due(db, after="", limit=1000) if each.session.id == session_id)
    tenant_keys = TenantKeys(core.transaction, core.keyring, cast(Bucket, Shelf()))
    body, _ = make_object(due, signer, tenant_keys, now)
    meanwhile()
    with core.transaction() as db:
        mark_backed_up(db, [due], now)
    content = Content.model_validate(json.loads(body)["content"])
    return remove_layer(content, tenant_keys.secret("alice"))


@pytest.mark.parametrize("verdict", ["dead", "denied", "alive"])
def test_a_verdict_on_the_old_key_is_none_on_the_new_one(core: Core, verdict: str) -> None:
    """The validator held the session when it was logged in again: what it finds out is lost."""
    session_id, old = give_session(core)
    user_id = row(core, session_id).telegram_user_id or 0
    held = hold(core, session_id)
    assert held is not None
    _, new = log_in_again(core, session_id, user_id)
    before = row(core, session_id)
    outcome = {
        "dead": lambda: found_dead(core, held, cause="session_revoked", log_in_again=lambda _: LINK),
        "denied": lambda: found_denied(core, held, log_in_again=lambda _: LINK),
        "alive": lambda: found_alive(core, held, Account(user_id, "somebody", "Else", None)),
    }[verdict]()
    after = row(core, session_id)
    assert outcome == "lost"
    assert (after.status, after.version, after.username, string_of(core, after)) == (
        "active",
        before.version,
        before.username,
        new,
    )
    (aside,) = (each for each in rows(core, user_id) if each.id != session_id)
    assert (string_of(core, aside), aside.lease_holder) == (old, "latchkey:validator")


def test_a_lease_and_a_relogin_share_no_key(core: Core) -> None:
    """Whoever gets a lease has either key, and nobody else has that one; a lease of the old one is renewed no more."""
    won = {"old": 0, "new": 0}
    for _ in range(ROUNDS):
        session_id, old = give_session(core)
        user_id = row(core, session_id).telegram_user_id or 0
        leased, (claimed, new) = _race(
            partial(lease, core, session_id),
            partial(log_in_again, core, session_id, user_id),
        )
        assert claimed is not None
        assert isinstance(leased, Lease)
        renewed = row(core, session_id)
        (aside,) = (each for each in rows(core, user_id) if each.id != session_id)
        assert (string_of(core, renewed), string_of(core, aside)) == (new, old)
        assert (renewed.status, aside.status, aside.logout_pending) == ("active", "replaced", True)
        if leased.session_string == old:
            won["old"] += 1
            assert (aside.lease_id, renewed.lease_id) == (leased.lease_id, None)
            with pytest.raises(Conflict) as lost:
                renew_lease(
                    core,
                    tenant_id="alice",
                    session_id=session_id,
                    lease_id=leased.lease_id,
                    ttl_seconds=60,
                    actor="test",
                )
            assert lost.value.code == "lease_lost"
        else:
            won["new"] += 1
            assert (leased.session_string, renewed.lease_id, aside.lease_id) == (new, leased.lease_id, None)
    assert sum(won.values()) == ROUNDS


def test_what_was_revoked_stays_revoked(core: Core) -> None:
    """Of a revocation and a re-login the last one's key is not left in use, and both keys are logged out."""
    for _ in range(ROUNDS):
        session_id, old = give_session(core)
        user_id = row(core, session_id).telegram_user_id or 0
        _, (claimed, new) = _race(
            partial(revoke, core, session_id),
            partial(log_in_again, core, session_id, user_id),
        )
        pending = {string_of(core, each) for each in rows(core, user_id) if each.logout_pending}
        assert row(core, session_id).status == "revoking"
        assert pending == ({old} if claimed is None else {old, new})


def test_a_backup_says_what_was_stored_or_the_session_stays_due(core: Core) -> None:
    """A re-login between the reading and the marking: the new key is not taken for backed up."""
    session_id, old = give_session(core)
    user_id = row(core, session_id).telegram_user_id or 0
    stored = back_up(core, session_id, meanwhile=lambda: log_in_again(core, session_id, user_id))
    place = session_place("alice", session_id)
    assert core.keyring.open(place, Sealed(stored.key.key_id, stored.session_sealed)).decode() == old
    assert row(core, session_id).backed_up_version != row(core, session_id).version
    again = back_up(core, session_id)
    assert again.session_sealed == row(core, session_id).session_sealed
    assert row(core, session_id).backed_up_version == row(core, session_id).version


def test_all_at_once(core: Core) -> None:
    """Two re-logins, leases, a validation, a backup and, every other round, a revocation: nothing is torn."""
    for number in range(ROUNDS):
        session_id, old = give_session(core)
        user_id = row(core, session_id).telegram_user_id or 0
        revoked = number % 2 == 1

        work: list[Callable[[], Any]] = [
            partial(log_in_again, core, session_id, user_id),
            partial(log_in_again, core, session_id, user_id),
            partial(lease, core, session_id),
            partial(lease, core, session_id),
            partial(validate, core, session_id),
            partial(back_up, core, session_id),
            *([partial(revoke, core, session_id)] if revoked else []),
        ]
        first, second, *_, stored = _race(*work)[:6]
        _check(core, session_id, user_id, made={old, first[1], second[1]}, revoked=revoked)
        current = row(core, session_id)
        if current.backed_up_version == current.version and current.session_sealed is not None:
            assert stored.session_sealed == current.session_sealed


def _check(core: Core, session_id: str, user_id: int, *, made: set[str], revoked: bool) -> None:
    """Each auth key is in one row, and is either the session's or to be logged out."""
    found = [each for each in rows(core, user_id) if each.session_sealed is not None]
    strings = [string_of(core, each) for each in found]
    assert len(strings) == len(set(strings))
    assert set(strings) <= made
    current = row(core, session_id)
    assert current.status in ({"revoking"} if revoked else {"active", "invalid"})
    for each, string in zip(found, strings, strict=True):
        auth_key, _ = read_string_session(string)
        assert each.auth_key_hash in (fingerprint(auth_key), None)
        assert each.id == session_id or (each.status, each.logout_pending) == ("replaced", True)
    leases = [each.lease_id for each in found if each.lease_id is not None]
    assert len(leases) == len(set(leases))


def _race(*work: Callable[[], Any]) -> list[Any]:
    """Do all of it at the same moment; what came of each, in order."""
    together = threading.Barrier(len(work))

    def run(each: Callable[[], Any]) -> Any:
        together.wait()
        return each()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run, work))
