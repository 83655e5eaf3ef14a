"""A stage for sessions: real PostgreSQL and Redis, a Telegram, and one worker's parts in this process.

What is dispatched is remembered and not run: a test runs what it is about, when it wants it run.
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import select, update
from telethon.password import compute_check
from telethon.tl.functions.account import GetPasswordRequest
from telethon.tl.functions.auth import CheckPasswordRequest, ExportLoginTokenRequest

from app.clock import utc_now
from app.core import Core
from app.ids import new_id
from app.logins.again import log_in_again
from app.models import AuditEvent, EncryptionKey, TelegramSession, WebhookEndpoint, WebhookMessage
from app.sessions.claim import Account, claim_session
from app.sessions.leases import Lease, acquire_lease
from app.sessions.logging_out import log_out_session
from app.sessions.planning import TICKET_SECONDS
from app.sessions.validation import SESSIONS_AT_ONCE, validate_batch
from app.settings import DataCentre, Settings
from app.telegram.calls import PacedCaller
from app.telegram.connection import TelegramConnection
from app.telegram.errors import PasswordNeeded
from app.telegram.gates import Caller
from app.telegram.identity import identity_for
from app.telegram.process import start_telegram, stop_telegram
from app.telegram.session_formats import SessionFormat
from app.tenants.keys import create_api_key
from app.vault.places import webhook_secret_place
from sandbox.driver import SandboxDriver
from tests.builders import Sent, make_core

_AT_ONCE = 16


class LoggedIn(NamedTuple):
    """A new account, and the string session of an auth key that is logged in to it."""

    user_id: int
    string_session: str


class Stage(AbstractContextManager["Stage"]):
    """The cast's tenants, a Telegram, and a worker. Every session on it is a real one.

    Args:
        reserve: accounts that were logged in for tests to come; sixteen at once take no longer than one. None: the stage's own.
    """

    def __init__(self, settings: Settings, telegram: SandboxDriver, *, reserve: list[LoggedIn] | None = None) -> None:
        self.settings = settings
        self.telegram = telegram
        self._reserve = [] if reserve is None else reserve
        self.sent = Sent()
        self.core: Core = make_core(settings, sent=self.sent)
        self.parts = start_telegram(settings, self.core.metrics)
        self._before = telegram.stats()

    def __exit__(self, *_: object) -> None:
        stop_telegram(self.parts)
        self.core.engine.dispose()
        self.core.redis.close()

    # --- accounts and sessions

    def account(self, **fields: Any) -> int:
        """A new account at Telegram; its user id."""
        user_id: int = self.telegram.create_account(**fields)["id"]
        return user_id

    def authorize(self, user_id: int, *, password: str | None = None, at: DataCentre | None = None) -> str:
        """Log a new auth key in to an account, and return its string session.

        Args:
            at: the account's data centre; None: the first one.

        Raises:
            PasswordNeeded: the account has a password, and none was given; the login is left as it is.
        """
        return self.parts.runtime.run(self._authorize(user_id, password, at), timeout_seconds=30)

    def connect(self, user_id: int | None = None, *, tenant: str = "alice", **metadata: Any) -> str:
        """Connect an account (a new one, unless it is named) to a tenant; the session's id."""
        if user_id is None:
            user_id, string_session = self.logged_in()
        else:
            string_session = self.authorize(user_id)
        return self.keep(user_id, string_session, tenant=tenant, **metadata)

    def logged_in(self) -> LoggedIn:
        """A new account that is logged in, and nobody's session yet."""
        if not self._reserve:
            self._reserve.extend(self._log_in_many(_AT_ONCE))
        return self._reserve.pop()

    def keep(self, user_id: int, string_session: str, *, tenant: str = "alice", **metadata: Any) -> str:
        """Store an authorized account's session, as the end of its login does; the session's id."""
        return self._claim(tenant, user_id, string_session, metadata)

    def connect_many(self, count: int) -> list[str]:
        """Connect as many new accounts to Alice; the sessions' ids."""
        return [self.keep(*each) for each in self._log_in_many(count)]

    def row(self, session_id: str) -> TelegramSession:
        """A session's row as it stands."""
        with self.core.transaction() as db:
            return db.get_one(TelegramSession, session_id)

    def fault(self, session_id: str, method: str, **effects: Any) -> None:
        """Let the next calls of a session's account go wrong."""
        self.telegram.add_fault(method, user_id=self.row(session_id).telegram_user_id, **effects)

    def change(self, session_id: str, **values: Any) -> None:
        """Write to a session's row, as time or a restore would."""
        with self.core.transaction() as db:
            db.execute(update(TelegramSession).where(TelegramSession.id == session_id).values(**values))

    def lose_key(self, session_id: str) -> None:
        """Take away the key encryption key that a session needs, as a disabled KMS key would be."""
        with self.core.transaction() as db:
            db.get_one(EncryptionKey, db.get_one(TelegramSession, session_id).key_id).wrapping_key_id = "local-away"
        self.core.keyring.forget()

    def api_key(self) -> str:
        """A key of Alice's that may open sessions."""
        return create_api_key(self.core.transaction, actor="test", tenant_id="alice", scopes=("sessions:open",)).key

    # --- what Latchkey does

    def validate(self, *session_ids: str, at_once: int = SESSIONS_AT_ONCE) -> Counter[str]:
        """Plan these sessions and validate them now."""
        ticket = utc_now() + timedelta(seconds=TICKET_SECONDS)
        for session_id in session_ids:
            self.change(session_id, next_validation_at=ticket)
        return self.run_batch(ticket.isoformat(), session_ids, at_once=at_once)

    def run_batch(self, ticket: str, session_ids: Sequence[str], *, at_once: int = SESSIONS_AT_ONCE) -> Counter[str]:
        """Run a planned batch, as its task would."""
        work = validate_batch(
            self.core,
            self.parts,
            session_ids=session_ids,
            ticket=utc_now().fromisoformat(ticket),
            log_in_again=partial(log_in_again, self.core),
            at_once=at_once,
        )
        return Counter(self.parts.runtime.run(work, timeout_seconds=100))

    def log_out(self, session_id: str) -> str:
        """Run a log-out, as its task would."""
        return self.parts.runtime.run(log_out_session(self.core, self.parts, session_id), timeout_seconds=100)

    def lease(
        self,
        session_id: str,
        *,
        holder: str = "bot-1",
        ttl_seconds: float = 60,
        session_format: SessionFormat = "telethon",
    ) -> Lease:
        """Acquire a lease of Alice's."""
        return acquire_lease(
            self.core,
            tenant_id="alice",
            session_id=session_id,
            holder=holder,
            ttl_seconds=ttl_seconds,
            actor="api-key:key_alice",
            session_format=session_format,
        )

    # --- what others see

    def listen(self, tenant: str = "alice") -> None:
        """Give a tenant a webhook endpoint, so that events are queued for it."""
        endpoint_id = new_id("whe")
        sealed = self.core.keyring.seal(webhook_secret_place(tenant, endpoint_id), b"whsec_test")
        with self.core.transaction() as db:
            db.add(
                WebhookEndpoint(
                    id=endpoint_id,
                    tenant_id=tenant,
                    url="https://alice.example/hook",
                    key_id=sealed.key_id,
                    secret_sealed=sealed.ciphertext,
                )
            )

    def events(self, tenant: str = "alice") -> list[tuple[str, dict[str, Any]]]:
        """The events in the outbox, oldest first."""
        with self.core.transaction() as db:
            rows = db.scalars(
                select(WebhookMessage).where(WebhookMessage.tenant_id == tenant).order_by(WebhookMessage.created_at)
            )
            return [(row.event, row.payload) for row in rows]

    def audit(self, session_id: str) -> list[tuple[str, str, str | None]]:
        """What the audit says of a session: action, actor, reason."""
        with self.core.transaction() as db:
            rows = db.scalars(select(AuditEvent).where(AuditEvent.subject == session_id).order_by(AuditEvent.id))
            return [(row.action, row.actor, row.reason) for row in rows]

    def counted(self, outcome: str) -> float:
        """How many validations came to an outcome."""
        counter = self.core.metrics.session_validations.labels(outcome=outcome)
        return sum(
            sample.value for metric in counter.collect() for sample in metric.samples if sample.name.endswith("_total")
        )

    def violations(self) -> dict[str, int]:
        """The rules of Telegram that were broken on this stage, by name; empty when none was."""
        now, before = self.telegram.stats()["violations"], self._before["violations"]
        return {name: count - before[name] for name, count in now.items() if count != before[name]}

    def calls(self, method: str) -> int:
        """How often a method was called on this stage."""
        return int(self.telegram.stats()["calls"].get(method, 0) - self._before["calls"].get(method, 0))

    # --- inside

    def _log_in_many(self, count: int) -> list[LoggedIn]:
        users = [self.account() for _ in range(count)]
        strings = self.parts.runtime.run(self._authorize_all(users), timeout_seconds=120)
        return [LoggedIn(*each) for each in zip(users, strings, strict=True)]

    def _claim(self, tenant: str, user_id: int, string_session: str, metadata: dict[str, Any]) -> str:
        self.core.keyring.fetch(None, why="to seal a session")
        with self.core.transaction() as db:
            return claim_session(
                db,
                self.core.keyring,
                tenant_id=tenant,
                account=Account(telegram_user_id=user_id, username=None, first_name="Alice", phone=None),
                string_session=string_session,
                dc_id=2,
                identity=identity_for(self.settings, {}),
                metadata=metadata,
                validation_interval_seconds=self.settings.validation_interval_seconds,
            ).session_id

    async def _authorize_all(self, users: Sequence[int]) -> list[str]:
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def one(user_id: int) -> str:
            async with at_once:
                return await self._authorize(user_id)

        return await asyncio.gather(*map(one, users))

    async def _authorize(self, user_id: int, password: str | None = None, at: DataCentre | None = None) -> str:
        identity, data_centre = identity_for(self.settings, {}), at or self.settings.data_centre
        assert data_centre is not None
        connection = TelegramConnection(
            identity=identity, data_centre=data_centre, auth_key=None, handshakes=self.parts.handshakes
        )
        export = ExportLoginTokenRequest(identity.api_id, identity.api_hash, [])
        await connection.open()
        who = Caller(self.settings, api_id=identity.api_id, auth_key=connection.auth_key)
        caller = PacedCaller(floods=self.parts.floods, metrics=self.core.metrics, caller=who, fresh=True)
        try:
            token = (await caller.call(connection, export)).token
            url = "tg://login?token=" + base64.urlsafe_b64encode(token).decode().rstrip("=")
            await asyncio.to_thread(self.telegram.scan, user_id, url)
            try:
                await caller.call(connection, export)
            except PasswordNeeded:
                if password is None:
                    raise
                asked = await caller.call(connection, GetPasswordRequest())
                await caller.call(connection, CheckPasswordRequest(compute_check(asked, password)))
            return connection.string_session()
        finally:
            await connection.close()
