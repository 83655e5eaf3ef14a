"""What the custody tests build: key rings, rows as the application stores them, and an emulated AWS over HTTP."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session as DatabaseSession
from telethon.crypto import AuthKey
from telethon.sessions import StringSession

from app.clock import utc_now
from app.database import Transaction, make_engine, make_transaction, make_unpooled_engine
from app.identities import write_overrides
from app.ids import new_id
from app.metrics import make_metrics
from app.models import AuditEvent, EncryptionKey, LeavingAuthKey, Login, TelegramSession, Tenant, WebhookEndpoint
from app.vault.keyring import KeyRing
from app.vault.places import LEAVING_AUTH_KEYS, LOGINS, session_place, webhook_secret_place
from app.vault.providers import LocalKeyProvider
from app.vault.rotation import RotationReport, rotate_keys
from app.vault.sealing import Place, Sealed
from app.vault.transact import transact
from app.vault.wrapping import KeyProvider
from devstack.ports import HOST, accepts, free_port
from devstack.programs import Program, running

ALICE, BOB = "alice", "bob"
ACCESS_KEY, SECRET_KEY = "test", "test-secret"
AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_DEFAULT_REGION": "us-east-1",
}
"""Where boto3 looks; the same for the emulator and for the real S3 server."""


@dataclass(frozen=True)
class Vault:
    """A database and a process's key ring on it."""

    engine: Engine
    transaction: Transaction
    provider: KeyProvider
    keyring: KeyRing

    @property
    def database_url(self) -> str:
        """The database's URL, password and all."""
        return self.engine.url.render_as_string(hide_password=False)

    def another_process(self, **options: Any) -> KeyRing:
        """A second key ring, as another process would have it; options are ``KeyRing``'s."""
        return make_ring(self.database_url, self.provider, **options)

    def events(self, action: str) -> list[AuditEvent]:
        """The audit rows of one action, oldest first."""
        with self.transaction() as db:
            return list(db.scalars(select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id)))

    def rotate(self, keyring: KeyRing | None = None, **options: Any) -> RotationReport:
        """Rotate, by force and with old keys retiring at once, unless the options (``rotate_keys``'s) say otherwise."""
        chosen: dict[str, Any] = {"max_age": timedelta(days=365), "force": True, "retire_after": timedelta(0)} | options
        return rotate_keys(transaction=self.transaction, keyring=keyring or self.keyring, actor="test", **chosen)

    def key_states(self) -> dict[str, str]:
        """The states of all keys by id."""
        with self.transaction() as db:
            return {key.id: key.state for key in db.scalars(select(EncryptionKey))}

    def open_login(self, login_id: str) -> dict[str, bytes]:
        """Open what a stored login has sealed, by column."""
        with self.transaction() as db:
            login = db.get_one(Login, login_id)
        return {
            name: self.keyring.open(Place(purpose, login.tenant_id, login.id), Sealed(login.key_id or "", ciphertext))
            for name, purpose in LOGINS.purposes.items()
            if (ciphertext := getattr(login, name)) is not None
        }

    def open_leaving_key(self, leaving_id: str) -> bytes:
        """Open an auth key that a login left behind."""
        with self.transaction() as db:
            row = db.get_one(LeavingAuthKey, leaving_id)
        place = Place(LEAVING_AUTH_KEYS.purposes["auth_key_sealed"], row.tenant_id, row.id)
        return self.keyring.open(place, Sealed(row.key_id, row.auth_key_sealed))

    def open_stored(self, session_id: str) -> str:
        """Open a stored session without an audit row."""
        with self.transaction() as db:
            row = db.get_one(TelegramSession, session_id)
        assert row.key_id is not None
        assert row.session_sealed is not None
        place = session_place(row.tenant_id, row.id)
        return self.keyring.open(place, Sealed(row.key_id, row.session_sealed)).decode()


def open_vault(database_url: str, provider: KeyProvider) -> Vault:
    """A vault on a migrated database; whoever opens it disposes of its engine."""
    engine = make_engine(database_url, pool_size=2)
    return Vault(engine, make_transaction(engine), provider, make_ring(database_url, provider))


def make_vault(database_url: str, provider: KeyProvider) -> Vault:
    """A vault with the tenants Alice and Bob."""
    vault = open_vault(database_url, provider)
    with vault.transaction() as db:
        db.add_all([Tenant(id=ALICE, name="Alice"), Tenant(id=BOB, name="Bob")])
    return vault


def make_ring(database_url: str, provider: KeyProvider, **options: Any) -> KeyRing:
    """A process's key ring."""
    transaction = make_transaction(make_unpooled_engine(database_url))
    return KeyRing(transaction=transaction, provider=provider, metrics=make_metrics(), actor="test", **options)


def make_local_provider(folder: Path) -> LocalKeyProvider:
    """A local provider with a key file of its own."""
    key_file = folder / f"{new_id('kek')}.key"
    key_file.write_bytes(base64.b64encode(os.urandom(32)))
    return LocalKeyProvider(key_file)


def make_string_session() -> str:
    """A Telethon string session with a random auth key."""
    session = StringSession()
    session.set_dc(2, "149.154.167.51", 443)
    session.auth_key = AuthKey(os.urandom(256))
    saved = session.save()
    assert isinstance(saved, str)
    return saved


def add_sessions(vault: Vault, count: int, *, tenant_id: str = ALICE, **columns: Any) -> dict[str, str]:
    """Store sessions as a claim does; returns their string sessions by id."""
    strings = {new_id("ses"): make_string_session() for _ in range(count)}
    rows = []
    for number, (session_id, string) in enumerate(strings.items()):
        sealed = vault.keyring.seal(session_place(tenant_id, session_id), string.encode())
        rows.append(
            {
                "id": session_id,
                "tenant_id": tenant_id,
                "telegram_user_id": number + 1,
                "dc_id": 2,
                "status": "active",
                "key_id": sealed.key_id,
                "session_sealed": sealed.ciphertext,
            }
            | columns
        )
    with vault.transaction() as db:
        db.execute(insert(TelegramSession), rows)
    return strings


def add_login(vault: Vault, *, status: str = "queued", tenant_id: str = ALICE, **columns: Any) -> Login:
    """Store a login with all its sealed columns filled, each with its own name as plaintext."""
    login_id, final = new_id("lgn"), status not in {"queued", "waiting_for_scan", "password_required"}
    key_id = vault.keyring.active_key_id()
    sealed = {
        name: vault.keyring.seal_under_key(key_id, Place(purpose, tenant_id, login_id), name.encode())
        for name, purpose in LOGINS.purposes.items()
    }
    with vault.transaction() as db:
        login = Login(
            id=login_id,
            tenant_id=tenant_id,
            method="qr",
            status=status,
            client_secret_hash=os.urandom(32),
            key_id=key_id,
            expires_at=utc_now() + timedelta(minutes=10),
            dc_id=2,
            dc_host="127.0.0.1",
            dc_port=443,
            finished_at=utc_now() if final else None,
            **(sealed | columns),
        )
        db.add(login)
    return login


def set_overrides(vault: Vault, tenant_id: str, **overrides: Any) -> None:
    """Set who a tenant is to Telegram."""

    def work(db: DatabaseSession) -> None:
        write_overrides(vault.keyring, db.get_one(Tenant, tenant_id), overrides)

    transact(vault.transaction, vault.keyring, work)


def add_webhook_endpoint(vault: Vault, *, tenant_id: str = ALICE) -> str:
    """Store a webhook endpoint whose secret is ``whsec_test``; returns its id."""
    endpoint_id = new_id("whe")
    sealed = vault.keyring.seal(webhook_secret_place(tenant_id, endpoint_id), b"whsec_test")
    with vault.transaction() as db:
        db.add(
            WebhookEndpoint(
                id=endpoint_id,
                tenant_id=tenant_id,
                url="https://example.com/hook",
                key_id=sealed.key_id,
                secret_sealed=sealed.ciphertext,
            )
        )
    return endpoint_id


@contextmanager
def aws_environment() -> Iterator[None]:
    """Let boto3 find its credentials for a block."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in AWS_ENVIRONMENT.items():
            environment.setenv(name, value)
        yield


@contextmanager
def emulated_aws(folder: Path) -> Iterator[str]:
    """Run moto's S3 and KMS over HTTP; yields its address."""
    port = free_port()
    program = Program(
        name="moto",
        command=(sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)),
        log=folder / "moto.log",
        ready=lambda: accepts(port),
    )
    with running(program):
        yield f"http://{HOST}:{port}"
