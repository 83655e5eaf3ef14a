"""Rotation while others rotate, write, open and die."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from app.clock import utc_now
from app.logins.store import advance, end_from_outside
from app.models import EncryptionKey, TelegramSession
from app.vault.keyring import KeyRing
from app.vault.opening import open_session
from app.vault.places import LOGINS, session_place
from app.vault.rotation import help_rotation
from app.vault.sealing import Place
from app.vault.transact import transact
from tests.vault.vaults import (
    ALICE,
    Vault,
    add_login,
    add_sessions,
    make_local_provider,
    make_string_session,
    make_vault,
)


def test_two_rotations_at_once_share_the_work(vault: Vault) -> None:
    """Neither waits for the other nor does the other's rows again."""
    strings = add_sessions(vault, 120)
    vault.rotate(limit_seconds=-1, batch_rows=1)
    with ThreadPoolExecutor(2) as threads:
        reports = list(
            threads.map(lambda _: vault.rotate(vault.another_process(), force=False, batch_rows=7), range(2))
        )
    assert sum(report.resealed for report in reports) <= 120
    assert vault.rotate(force=False).left == 0
    assert {session_id: vault.open_stored(session_id) for session_id in strings} == strings


def test_a_large_rotation_calls_for_help_once(vault: Vault) -> None:
    """From ``help_from_rows`` on, when the new key is active; a smaller one does without."""
    add_sessions(vault, 5)
    calls: list[dict[str, str]] = []
    vault.rotate(batch_rows=1, help_from_rows=6, call_help=lambda: calls.append({}))
    assert calls == []
    report = vault.rotate(batch_rows=1, help_from_rows=5, call_help=lambda: calls.append(vault.key_states()))
    [states] = calls
    assert states[report.active_key_id] == "active"


def test_a_helper_goes_by_the_key_that_is_active_now(vault: Vault) -> None:
    """Although its process has not heard of the rotation yet; it replaces and retires no key."""
    strings = add_sessions(vault, 20)
    helper = vault.another_process()
    old = helper.active_key_id()
    report = vault.rotate(limit_seconds=-1, batch_rows=1)
    assert help_rotation(transaction=vault.transaction, keyring=helper, batch_rows=7) == 19
    assert vault.key_states() == {old: "retiring", report.active_key_id: "active"}
    with vault.transaction() as db:
        assert set(db.scalars(select(TelegramSession.key_id))) == {report.active_key_id}
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
            read = partial(
                open_session, keyring=ring, tenant_id=ALICE, session_id=session_id, actor=f"t{number}", reason="test"
            )
            opened = transact(vault.transaction, ring, read)
            assert opened == expected[session_id]
            _write_something(vault, ring, dice, session_id, expected, logins)
        return operations

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(live, number) for number in range(3)]
        try:
            reports = [vault.rotate(vault.another_process(), batch_rows=20) for _ in range(6)]
        finally:
            done.set()
        operations = [future.result(timeout=30) for future in running]
    assert min(operations) > 10
    assert sum(report.resealed for report in reports) > 100
    for _ in range(3):
        last = vault.rotate(force=False)
    assert (last.left, last.broken) == (0, [])
    assert {session_id: vault.open_stored(session_id) for session_id in expected} == expected
    for login_id, auth_key in logins.items():
        assert vault.open_leaving_key(login_id) == auth_key


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
                end_from_outside(db, login_id=login.id, status="expired")
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
    report = vault.rotate(force=False)
    assert (report.resealed, report.left, len(report.retired)) == (12 - (steps - 1) * 4, 0, 1)
    assert {session_id: vault.open_stored(session_id) for session_id in strings} == strings


def test_a_rotation_that_is_killed_anywhere_harms_nothing(database_url: str, tmp_path: Path) -> None:
    """Killed at a random moment of its batches, again and again, while it works through the rows."""
    vault = make_vault(database_url, make_local_provider(tmp_path))
    strings = add_sessions(vault, 400)
    [key_file] = tmp_path.glob("*.key")
    vault.rotate(limit_seconds=-1, batch_rows=1)
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
    vault.rotate(force=False)
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
