"""Rotation: everything ends under the new key, whoever writes, opens or dies meanwhile."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.clock import utc_now
from app.logins.store import advance, finish
from app.models import BackupObject, EncryptionKey, Login, TelegramSession, WebhookEndpoint
from app.vault.keyring import KeyRing
from app.vault.opening import open_session
from app.vault.places import LOGINS, session_place, webhook_secret_place
from app.vault.rotation import RotationReport, rotate_keys, settle_states
from app.vault.sealing import Place, Sealed
from tests.vault.parts import (
    ALICE,
    BOB,
    Vault,
    add_login,
    add_sessions,
    add_webhook_endpoint,
    make_local_provider,
    make_string_session,
    make_vault,
)

NOW = timedelta(0)
YEAR = timedelta(days=365)


def _rotate(vault: Vault, keyring: KeyRing | None = None, **options: Any) -> RotationReport:
    chosen: dict[str, Any] = {"max_age": YEAR, "force": True, "retire_after": NOW} | options
    return rotate_keys(transaction=vault.transaction, keyring=keyring or vault.keyring, actor="test", **chosen)


def _states(vault: Vault) -> dict[str, str]:
    with vault.transaction() as db:
        return {key.id: key.state for key in db.scalars(select(EncryptionKey))}


def _open_login(vault: Vault, login_id: str) -> dict[str, bytes]:
    with vault.transaction() as db:
        login = db.get_one(Login, login_id)
    return {
        name: vault.keyring.open(Place(purpose, login.tenant_id, login.id), Sealed(login.key_id or "", ciphertext))
        for name, purpose in LOGINS.purposes.items()
        if (ciphertext := getattr(login, name)) is not None
    }


def test_a_young_key_stays(vault: Vault) -> None:
    """Before ``max_age`` nothing happens; from then on the key is replaced."""
    first = vault.keyring.active_key_id()
    assert not _rotate(vault, force=False).replaced
    report = _rotate(vault, force=False, max_age=NOW)
    assert report.replaced
    assert _states(vault) == {first: "retired", report.active_key_id: "active"}


def test_everything_sealed_ends_under_the_new_key(vault: Vault) -> None:
    """Sessions, finished logins and webhook secrets; each opens to what it was, and its session is due for a backup."""
    strings = add_sessions(vault, 7, backed_up_version=1) | add_sessions(vault, 4, tenant_id=BOB)
    login, endpoint_id = add_login(vault, status="expired"), add_webhook_endpoint(vault)
    steps: list[int] = []
    report = _rotate(vault, batch_rows=3, on_progress=lambda progress: steps.append(progress.done))
    assert (report.resealed, report.left, report.broken) == (13, 0, [])
    assert steps == [0, 3, 6, 9, 11, 12, 13]
    assert {session_id: vault.open_stored(session_id) for session_id in strings} == strings
    assert _open_login(vault, login.id) == {name: name.encode() for name in LOGINS.purposes}
    with vault.transaction() as db:
        for model in (TelegramSession, Login, WebhookEndpoint):
            assert set(db.scalars(select(model.key_id))) == {report.active_key_id}
        assert set(db.scalars(select(TelegramSession.backed_up_version))) == {None}
        endpoint = db.get_one(WebhookEndpoint, endpoint_id)
    sealed = Sealed(endpoint.key_id, endpoint.secret_sealed)
    assert vault.keyring.open(webhook_secret_place(ALICE, endpoint_id), sealed) == b"whsec_test"


def test_a_live_login_keeps_its_key_until_it_is_over(vault: Vault) -> None:
    """Its worker seals under the key id that it read; the key opens on and retires with the login."""
    login = add_login(vault, status="waiting_for_scan")
    report = _rotate(vault)
    assert (report.left, report.retired) == (1, [])
    assert _states(vault)[login.key_id or ""] == "retiring"
    with vault.transaction() as db:
        finish(db, login_id=login.id, status="cancelled", auth_key_sealed=None)
    assert _rotate(vault, force=False).retired == [login.key_id]
    assert set(_open_login(vault, login.id)) == {"client_secret_sealed"}


def test_a_login_that_is_still_to_be_logged_out_keeps_its_key(vault: Vault) -> None:
    """Final or not, a worker uses its auth key."""
    login = add_login(vault, status="failed", logout_pending=True)
    assert _rotate(vault).left == 1
    assert set(_open_login(vault, login.id)) == set(LOGINS.purposes)


def test_an_erased_row_needs_no_key(vault: Vault) -> None:
    """A revoked session or a login without secrets gives its key back."""
    add_sessions(vault, 1, session_sealed=None, status="revoked")
    erased: dict[str, Any] = dict.fromkeys(LOGINS.purposes)
    login = add_login(vault, status="expired", **erased)
    report = _rotate(vault)
    assert (report.left, len(report.retired)) == (0, 1)
    with vault.transaction() as db:
        assert db.get_one(Login, login.id).key_id is None


def test_an_old_key_retires_only_when_nobody_can_take_it_for_active(vault: Vault) -> None:
    """Even if nothing refers to it, it opens on for ``retire_after``."""
    old = vault.keyring.active_key_id()
    assert _rotate(vault, retire_after=timedelta(minutes=15)).retired == []
    with vault.transaction() as db:
        db.execute(update(EncryptionKey).values(state_changed_at=utc_now() - timedelta(minutes=16)))
    assert _rotate(vault, force=False, retire_after=timedelta(minutes=15)).retired == [old]


def test_what_a_sleeper_sealed_under_a_retired_key_opens_and_is_resealed(vault: Vault) -> None:
    """A process that slept through the rotation seals under the retired key: nothing is lost, the next run mends it."""
    sleeper = vault.another_process()
    old = sleeper.active_key_id()
    assert _rotate(vault).retired == [old]
    [(session_id, string)] = add_sessions(replace(vault, keyring=sleeper), 1).items()
    assert vault.open_stored(session_id) == string
    settle_states(vault.transaction, actor="test", retire_after=NOW)
    assert _states(vault)[old] == "retiring"
    assert _rotate(vault, force=False).retired == [old]
    assert vault.open_stored(session_id) == string


def test_a_backup_holds_its_key_back(vault: Vault) -> None:
    """A key is retired when no row and no unexpired backup refers to it."""
    old = vault.keyring.active_key_id()
    with vault.transaction() as db:
        db.add(
            BackupObject(
                object_key="b", session_id="ses_1", tenant_id=ALICE, version=1, key_id=old, backed_up_at=utc_now()
            )
        )
    assert _rotate(vault).retired == []
    with vault.transaction() as db:
        db.delete(db.get_one(BackupObject, "b"))
    assert _rotate(vault, force=False).retired == [old]


def test_a_broken_row_does_not_stop_the_others(vault: Vault) -> None:
    """It is reported, stays as it is and holds its key back."""
    strings = add_sessions(vault, 5)
    broken = sorted(strings)[2]
    with vault.transaction() as db:
        db.execute(update(TelegramSession).where(TelegramSession.id == broken).values(session_sealed=b"damaged"))
    report = _rotate(vault, batch_rows=2)
    assert (report.resealed, report.left, report.broken, report.retired) == (4, 1, [broken], [])
    with vault.transaction() as db:
        assert db.get_one(TelegramSession, broken).session_sealed == b"damaged"


def test_a_locked_row_is_left_for_the_next_run(vault: Vault) -> None:
    """Rotation never waits for a writer, and the writer's value is the one that is re-sealed."""
    strings = add_sessions(vault, 3)
    locked, replaced_by = sorted(strings)[0], make_string_session()
    with vault.transaction() as db:
        db.execute(select(TelegramSession).where(TelegramSession.id == locked).with_for_update())
        report = _rotate(vault)
        assert (report.resealed, report.left) == (2, 1)
        sealed = vault.keyring.seal(session_place(ALICE, locked), replaced_by.encode())
        db.execute(
            update(TelegramSession)
            .where(TelegramSession.id == locked)
            .values(key_id=sealed.key_id, session_sealed=sealed.ciphertext)
        )
    _rotate(vault)
    assert vault.open_stored(locked) == replaced_by


def test_two_rotations_at_once_share_the_work(vault: Vault) -> None:
    """Neither waits for the other nor does the other's rows again."""
    strings = add_sessions(vault, 120)
    _rotate(vault, limit_seconds=-1, batch_rows=1)
    with ThreadPoolExecutor(2) as threads:
        reports = list(
            threads.map(lambda _: _rotate(vault, vault.another_process(), force=False, batch_rows=7), range(2))
        )
    assert sum(report.resealed for report in reports) <= 120
    assert _rotate(vault, force=False).left == 0
    assert {session_id: vault.open_stored(session_id) for session_id in strings} == strings


def test_nothing_fails_while_keys_rotate(vault: Vault) -> None:
    """Openings, new sessions, rewritten sessions, logins' auth keys and validations go on at random; all is kept."""
    strings = add_sessions(vault, 60)
    expected = dict(strings)
    logins: dict[str, bytes] = {}
    done = threading.Event()

    def live(number: int) -> int:
        dice, operations = random.Random(number), 0
        ring = vault.another_process(active_seconds=0.3, cache_seconds=0.5)
        mine = [session_id for place, session_id in enumerate(sorted(strings)) if place % 3 == number]
        while not done.is_set():
            operations += 1
            session_id = dice.choice(mine)
            with vault.transaction() as db:
                opened = open_session(
                    db, keyring=ring, tenant_id=ALICE, session_id=session_id, actor=f"t{number}", reason="test"
                )
            assert opened == expected[session_id]
            _write_something(vault, ring, dice, session_id, expected, logins)
        return operations

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(live, number) for number in range(3)]
        try:
            reports = [_rotate(vault, vault.another_process(), batch_rows=20) for _ in range(6)]
        finally:
            done.set()
        operations = [future.result(timeout=30) for future in running]
    assert min(operations) > 10
    assert sum(report.resealed for report in reports) > 100
    for _ in range(3):
        last = _rotate(vault, force=False)
    assert (last.left, last.broken) == (0, [])
    assert {session_id: vault.open_stored(session_id) for session_id in expected} == expected
    for login_id, auth_key in logins.items():
        assert _open_login(vault, login_id)["auth_key_sealed"] == auth_key


def _write_something(
    vault: Vault,
    ring: KeyRing,
    dice: random.Random,
    session_id: str,
    expected: dict[str, str],
    logins: dict[str, bytes],
) -> None:
    match dice.randrange(4):
        case 0:  # a session is sealed anew
            expected[session_id] = make_string_session()
            sealed = ring.seal(session_place(ALICE, session_id), expected[session_id].encode())
            with vault.transaction() as db:
                db.execute(
                    update(TelegramSession)
                    .where(TelegramSession.id == session_id)
                    .values(
                        key_id=sealed.key_id,
                        session_sealed=sealed.ciphertext,
                        version=TelegramSession.version + 1,
                    )
                )
        case 1:  # a validation: a compare-and-set on the version, which a rotation must not make fail
            with vault.transaction() as db:
                version = db.scalar(select(TelegramSession.version).where(TelegramSession.id == session_id))
            with vault.transaction() as db:
                changed = db.scalar(
                    update(TelegramSession)
                    .where(TelegramSession.id == session_id, TelegramSession.version == version)
                    .values(last_validated_at=utc_now(), version=TelegramSession.version + 1)
                    .returning(TelegramSession.id)
                )
            assert changed is not None
        case 2:  # a login's worker stores its auth key, and the login ends
            login, auth_key = add_login(vault), dice.randbytes(256)
            place = Place(LOGINS.purposes["auth_key_sealed"], ALICE, login.id)
            sealed_key = ring.seal_under_key(login.key_id or "", place, auth_key)
            with vault.transaction() as db:
                advance(db, login_id=login.id, epoch=0, auth_key_sealed=sealed_key)
            with vault.transaction() as db:
                finish(db, login_id=login.id, status="expired")
            logins[login.id] = auth_key
        case _:
            expected.update(add_sessions(replace(vault, keyring=ring), 1, telegram_user_id=None))


_VICTIM = """
import sys
from datetime import timedelta
from pathlib import Path
from app.database import make_engine, make_transaction
from app.metrics import make_metrics
from app.vault.keyring import KeyRing
from app.vault.providers import LocalKeyProvider
from app.vault.rotation import rotate_keys

database_url, key_file, force = sys.argv[1:]
transaction = make_transaction(make_engine(database_url))
provider = LocalKeyProvider(Path(key_file))
keyring = KeyRing(transaction=transaction, provider=provider, metrics=make_metrics(), actor="victim")

def tell(progress):
    print(progress.done, flush=True)
    sys.stdin.readline()

rotate_keys(
    transaction=transaction, keyring=keyring, actor="victim",
    max_age=timedelta(days=365), force=force == "force", batch_rows=4, retire_after=timedelta(0), on_progress=tell,
)
"""


@pytest.mark.parametrize("steps", [1, 3])
def test_a_rotation_that_is_killed_between_steps_is_finished_by_the_next(
    database_url: str, tmp_path: Path, steps: int
) -> None:
    """After the new key is made, and between batches: every session opens at once, and the next run ends the work."""
    provider = make_local_provider(tmp_path)
    vault = make_vault(database_url, provider)
    strings = add_sessions(vault, 12)
    [key_file] = tmp_path.glob("*.key")
    with subprocess.Popen(
        [sys.executable, "-c", _VICTIM, database_url, str(key_file), "force"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as victim:
        assert victim.stdin is not None
        assert victim.stdout is not None
        for step in range(steps):
            assert victim.stdout.readline() == f"{step * 4}\n"
            if step < steps - 1:
                victim.stdin.write("\n")
                victim.stdin.flush()
        victim.kill()
    assert _under_active(vault) == (steps - 1) * 4
    assert {session_id: vault.open_stored(session_id) for session_id in strings} == strings
    report = _rotate(vault, force=False)
    assert (report.resealed, report.left, len(report.retired)) == (12 - (steps - 1) * 4, 0, 1)
    assert {session_id: vault.open_stored(session_id) for session_id in strings} == strings


def test_a_rotation_that_is_killed_anywhere_harms_nothing(database_url: str, tmp_path: Path) -> None:
    """Killed at a random moment of its batches, again and again, while it works through the rows."""
    vault = make_vault(database_url, make_local_provider(tmp_path))
    strings = add_sessions(vault, 400)
    [key_file] = tmp_path.glob("*.key")
    _rotate(vault, limit_seconds=-1, batch_rows=1)
    for lifetime in (0.02, 0.15):
        with subprocess.Popen(
            [sys.executable, "-c", _VICTIM, database_url, str(key_file), "continue"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as victim:
            assert victim.stdin is not None
            assert victim.stdout is not None
            victim.stdin.write("\n" * 1000)
            victim.stdin.flush()
            victim.stdout.readline()  # it is at work now
            try:
                victim.wait(lifetime)
            except subprocess.TimeoutExpired:
                victim.kill()
        assert {session_id: vault.open_stored(session_id) for session_id in random.sample(sorted(strings), 40)}
    _rotate(vault, force=False)
    assert _under_active(vault) == 400
    assert {session_id: vault.open_stored(session_id) for session_id in strings} == strings


def _under_active(vault: Vault) -> int:
    with vault.transaction() as db:
        return (
            db.scalar(
                select(func.count())
                .select_from(TelegramSession)
                .join(EncryptionKey, EncryptionKey.id == TelegramSession.key_id)
                .where(EncryptionKey.state == "active")
            )
            or 0
        )
